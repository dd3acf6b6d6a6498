;; Traps when the host asks for room for a message.
(module
  (memory (export "memory") 2)
  (func (export "wharf:websocket/handler@0.1.0#on-open") (param i64))
  (func (export "wharf:websocket/handler@0.1.0#on-messages") (param i32 i32))
  (func (export "wharf:websocket/handler@0.1.0#on-close") (param i64 i32 i32 i32 i32 i32))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    unreachable)
)
