;; Grows its table by 1,000 elements at a time until that is refused, then by
;; one, then sends the first message of the batch back.
(module
  (type $send (func (param i64 i32 i32 i32 i32)))
  (import "wharf:websocket/sessions@0.1.0" "send" (func $send (type $send)))
  (memory (export "memory") 2)
  (table $table 0 funcref)
  (func (export "wharf:websocket/handler@0.1.0#on-open") (param i64))
  (func (export "wharf:websocket/handler@0.1.0#on-messages") (param i32 i32)
    (loop $again
      (br_if $again
        (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
    (loop $again
      (br_if $again
        (i32.ne (table.grow $table (ref.null func) (i32.const 1)) (i32.const -1))))
    ;; A delivery: the session, then the kind at 8, the payload at 12 and 16.
    (call $send
      (i64.load (local.get 0))
      (i32.load8_u offset=8 (local.get 0))
      (i32.load offset=12 (local.get 0))
      (i32.load offset=16 (local.get 0))
      (i32.const 0)))
  (func (export "wharf:websocket/handler@0.1.0#on-close") (param i64 i32 i32 i32 i32 i32))
  ;; Hands out everything behind the first page; never frees.
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
)
