;; Recurses without end on the machine's own stack: no memory is touched, so
;; nothing but the stack limit ends it.
(module
  (memory (export "memory") 2)
  (func $deeper (param i32) (result i32)
    (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
  (func (export "wharf:websocket/handler@0.1.0#on-open") (param i64))
  (func (export "wharf:websocket/handler@0.1.0#on-messages") (param i32 i32)
    (drop (call $deeper (i32.const 0))))
  (func (export "wharf:websocket/handler@0.1.0#on-close") (param i64 i32 i32 i32 i32 i32))
  ;; Hands out everything behind the first page; never frees.
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
)
