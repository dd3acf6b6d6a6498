;; Tells the host to put a message behind the end of its memory.
(module
  (memory (export "memory") 2)
  (func (export "wharf:websocket/handler@0.1.0#on-open") (param i64))
  (func (export "wharf:websocket/handler@0.1.0#on-messages") (param i32 i32))
  (func (export "wharf:websocket/handler@0.1.0#on-close") (param i64 i32 i32 i32 i32 i32))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 0x7ffffff8))
)
