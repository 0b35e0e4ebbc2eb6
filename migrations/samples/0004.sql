update progress
   set sequence       = 11,
       recorded_ms    = 1795000150000,
       alive_ms       = 1795000150000,
       nodes          = 3,
       configs        = 3,
       attribute_sets = 2,
       reports_closed = 1,
       words          = 1,
       events         = 3;

insert into keyframe (sequence, at_ms, format, state, state_len, runs_sequence, runs, runs_len)
values (5, 1795000070000, 1, x'', 0, 5, x'', 0);

insert into remembered (key, request_digest, status, body, at_ms)
values ('a-key', 'a-digest', 200, '{"accepted":1,"refused":[]}', 1795000060000);

insert into import_stream (first_digest, control_plane_id, lines, prefix_digest, taken_ms)
values ('a-digest', 1, 12, 'another-digest', 1795000150000);
