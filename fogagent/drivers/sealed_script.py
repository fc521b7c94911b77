# Runs the script that standard input begins with as if it were a file: `-c` this PATH SIZE ARGUMENTS…
# The rest of standard input is the script's own. For inside WASI, without the package.


def start() -> None:
    import os
    import sys
    from types import TracebackType

    namespace = globals()
    del namespace["start"]
    _, path, size, *arguments = sys.argv
    namespace["__file__"] = path
    sys.argv[:] = [path, *arguments]
    source = bytearray()
    while len(source) < int(size):
        source += os.read(0, int(size) - len(source))

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """As the interpreter does it, but without us, and with the lines that it would take from a file."""
        import linecache
        import traceback

        while trace is not None and trace.tb_frame.f_code.co_filename == "<string>":
            trace = trace.tb_next
        lines = [line + "\n" for line in source.decode(errors="replace").splitlines()]
        linecache.cache[path] = (len(source), None, lines, path)
        traceback.print_exception(error.with_traceback(trace))

    sys.excepthook = show
    exec(compile(source, path, "exec", dont_inherit=True), namespace)


start()
