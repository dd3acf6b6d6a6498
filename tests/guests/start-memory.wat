;; Asks for 125 MiB of memory before it starts.
(module
  (memory (export "memory") 2000)
  (func (export "wharf:websocket/handler@0.1.0#on-open") (param i64))
  (func (export "wharf:websocket/handler@0.1.0#on-messages") (param i32 i32))
  (func (export "wharf:websocket/handler@0.1.0#on-close") (param i64 i32 i32 i32 i32 i32))
  ;; Hands out everything behind the first page; never frees.
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
)
