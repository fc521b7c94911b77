;; The canary: a WASI command that prints its first argument and nothing else.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    ;; 0: number of arguments, 4: bytes of their texts, 16: pointers to them, 1024: the texts
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 16) (i32.const 1024)))
    ;; 8: what to write, from the first argument to the last byte but the final NUL
    (i32.store (i32.const 8) (i32.load (i32.const 20)))
    (i32.store (i32.const 12)
      (i32.sub (i32.add (i32.const 1023) (i32.load (i32.const 4))) (i32.load (i32.const 20))))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))
