;; The checksum of frames, as checksum.ts says what it is. Assembled into checksum-wasm.ts, see there.
;;
;;       0  tables of slicing-by-16: 16 × 256 words, written by batch-checksum.ts
;;   65536  the batch
(module
  (memory (export "memory") 2)

  ;; CRC register $c (already inverted) over [$p, $end)
  (func $run (param $p i32) (param $end i32) (param $c i32) (result i32)
    (local $d i32) (local $e i32) (local $f i32) (local $until i32)
    (local.set $until (i32.sub (local.get $end) (i32.const 16)))
    (block $short
      (loop $sixteen
        (br_if $short (i32.gt_s (local.get $p) (local.get $until)))
        (local.set $c (i32.xor (local.get $c) (i32.load align=1 (local.get $p))))
        (local.set $d (i32.load offset=4 align=1 (local.get $p)))
        (local.set $e (i32.load offset=8 align=1 (local.get $p)))
        (local.set $f (i32.load offset=12 align=1 (local.get $p)))
        (local.set $c
          (i32.xor
            (i32.xor
              (i32.xor
                (i32.xor
                  (i32.load offset=15360 (i32.shl (i32.and (local.get $c) (i32.const 255)) (i32.const 2)))
                  (i32.load offset=14336 (i32.and (i32.shr_u (local.get $c) (i32.const 6)) (i32.const 1020))))
                (i32.xor
                  (i32.load offset=13312 (i32.and (i32.shr_u (local.get $c) (i32.const 14)) (i32.const 1020)))
                  (i32.load offset=12288 (i32.shl (i32.shr_u (local.get $c) (i32.const 24)) (i32.const 2)))))
              (i32.xor
                (i32.xor
                  (i32.load offset=11264 (i32.shl (i32.and (local.get $d) (i32.const 255)) (i32.const 2)))
                  (i32.load offset=10240 (i32.and (i32.shr_u (local.get $d) (i32.const 6)) (i32.const 1020))))
                (i32.xor
                  (i32.load offset=9216 (i32.and (i32.shr_u (local.get $d) (i32.const 14)) (i32.const 1020)))
                  (i32.load offset=8192 (i32.shl (i32.shr_u (local.get $d) (i32.const 24)) (i32.const 2))))))
            (i32.xor
              (i32.xor
                (i32.xor
                  (i32.load offset=7168 (i32.shl (i32.and (local.get $e) (i32.const 255)) (i32.const 2)))
                  (i32.load offset=6144 (i32.and (i32.shr_u (local.get $e) (i32.const 6)) (i32.const 1020))))
                (i32.xor
                  (i32.load offset=5120 (i32.and (i32.shr_u (local.get $e) (i32.const 14)) (i32.const 1020)))
                  (i32.load offset=4096 (i32.shl (i32.shr_u (local.get $e) (i32.const 24)) (i32.const 2)))))
              (i32.xor
                (i32.xor
                  (i32.load offset=3072 (i32.shl (i32.and (local.get $f) (i32.const 255)) (i32.const 2)))
                  (i32.load offset=2048 (i32.and (i32.shr_u (local.get $f) (i32.const 6)) (i32.const 1020))))
                (i32.xor
                  (i32.load offset=1024 (i32.and (i32.shr_u (local.get $f) (i32.const 14)) (i32.const 1020)))
                  (i32.load (i32.shl (i32.shr_u (local.get $f) (i32.const 24)) (i32.const 2))))))))
        (local.set $p (i32.add (local.get $p) (i32.const 16)))
        (br $sixteen)))
    (local.set $until (i32.sub (local.get $end) (i32.const 4)))
    (block $rest
      (loop $four
        (br_if $rest (i32.gt_s (local.get $p) (local.get $until)))
        (local.set $c (i32.xor (local.get $c) (i32.load align=1 (local.get $p))))
        (local.set $c
          (i32.xor
            (i32.xor
              (i32.load offset=3072 (i32.shl (i32.and (local.get $c) (i32.const 255)) (i32.const 2)))
              (i32.load offset=2048 (i32.and (i32.shr_u (local.get $c) (i32.const 6)) (i32.const 1020))))
            (i32.xor
              (i32.load offset=1024 (i32.and (i32.shr_u (local.get $c) (i32.const 14)) (i32.const 1020)))
              (i32.load (i32.shl (i32.shr_u (local.get $c) (i32.const 24)) (i32.const 2))))))
        (local.set $p (i32.add (local.get $p) (i32.const 4)))
        (br $four)))
    (block $done
      (loop $one
        (br_if $done (i32.ge_s (local.get $p) (local.get $end)))
        (local.set $c
          (i32.xor
            (i32.load (i32.shl (i32.and (i32.xor (local.get $c) (i32.load8_u (local.get $p))) (i32.const 255)) (i32.const 2)))
            (i32.shr_u (local.get $c) (i32.const 8))))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (br $one)))
    (local.get $c))

  ;; The checksum of the frame of $total bytes at $p: bytes 0-27 and 40-end.
  (func $frame (export "frame") (param $p i32) (param $total i32) (param $seed i32) (result i32)
    (i32.xor
      (call $run
        (i32.add (local.get $p) (i32.const 40))
        (i32.add (local.get $p) (local.get $total))
        (call $run
          (local.get $p)
          (i32.add (local.get $p) (i32.const 28))
          (i32.xor (local.get $seed) (i32.const -1))))
      (i32.const -1)))

  ;; Writes the checksums of the frames in [$p, $end), which hold their seeds where the checksum goes.
  (func (export "seal") (param $p i32) (param $end i32)
    (local $total i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $p) (local.get $end)))
        (local.set $total (i32.load offset=8 align=1 (local.get $p)))
        (i32.store offset=28 align=1
          (local.get $p)
          (call $frame (local.get $p) (local.get $total) (i32.load offset=28 align=1 (local.get $p))))
        (local.set $p (i32.add (local.get $p) (local.get $total)))
        (br $next)))))
