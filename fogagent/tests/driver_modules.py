"""Small WASI modules for the driver tests, as text."""

import wasmtime


def _module(body: str, imports: str = "", memory: str = "1") -> bytes:
    text = f"""(module {imports}
        (memory (export "memory") {memory})
        {body})"""
    return bytes(wasmtime.wat2wasm(text))


def _wasi(name: str, parameters: int, result: str = "(result i32)") -> str:
    types = "i32 " * parameters
    return f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {types}) {result}))'


WRITE = _wasi("fd_write", 4)

# An io vector at 0 that points to the text at 8, written by one fd_write.
HELLO = _module(
    r"""(data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
    (func (export "_start")
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))))""",
    WRITE,
)

# Reads into 1024, then writes as much as was read, to standard output.
ECHO = _module(
    r"""(data (i32.const 0) "\00\04\00\00\00\10\00\00")
    (func (export "_start")
      (loop $more
        (i32.store (i32.const 4) (i32.const 4096))
        (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
        (if (i32.load (i32.const 4)) (then
          (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))
          (br $more)))))""",
    _wasi("fd_read", 4) + WRITE,
)

# Writes its arguments as they lie in memory: each ends with a zero byte.
ARGUMENTS = _module(
    r"""(func (export "_start")
      (drop (call $args_sizes_get (i32.const 64) (i32.const 4)))
      (drop (call $args_get (i32.const 512) (i32.const 1024)))
      (i32.store (i32.const 0) (i32.const 1024))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))))""",
    _wasi("args_sizes_get", 2) + _wasi("args_get", 2) + WRITE,
)

# The same with its environment.
ENVIRONMENT = _module(
    r"""(func (export "_start")
      (drop (call $environ_sizes_get (i32.const 64) (i32.const 4)))
      (drop (call $environ_get (i32.const 512) (i32.const 1024)))
      (i32.store (i32.const 0) (i32.const 1024))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))))""",
    _wasi("environ_sizes_get", 2) + _wasi("environ_get", 2) + WRITE,
)


def saying(text: bytes) -> bytes:
    """A module that writes this text to standard output."""
    escaped = "".join(f"\\{byte:02x}" for byte in b"\x08\0\0\0" + len(text).to_bytes(4, "little") + text)
    return _module(
        f"""(data (i32.const 0) "{escaped}")
        (func (export "_start")
          (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 2048))))""",
        WRITE,
    )


EXIT_3 = _module('(func (export "_start") (call $proc_exit (i32.const 3)))', _wasi("proc_exit", 1, ""))

TRAP = _module('(func (export "_start") unreachable)')
DIVISION = _module('(func (export "_start") (drop (i32.div_u (i32.const 1) (i32.const 0))))')
ENDLESS = _module('(func (export "_start") (loop $again (br $again)))')

# Takes one page after the other until it is refused, then traps as allocators do.
GREEDY = _module(
    """(func (export "_start")
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
      unreachable)"""
)

# Writes 64 KiB of zero bytes to standard output 40 times: 2.5 MiB.
LOUD = _module(
    r"""(data (i32.const 0) "\00\00\01\00\00\00\01\00")
    (func (export "_start") (local $left i32)
      (local.set $left (i32.const 40))
      (loop $more
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))
        (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))""",
    WRITE,
    memory="3",
)

LARGE = _module('(func (export "_start"))', memory="1024")  # 64 MB from the start
LIBRARY = _module('(func (export "add") (param i32 i32) (result i32) local.get 0)')
NEEDS_MORE = _module('(func (export "_start") (call $launch))', '(import "env" "launch" (func $launch))')
