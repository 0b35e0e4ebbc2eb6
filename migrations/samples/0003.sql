insert into word (sequence, at_ms, recorded_ms, control_plane_id, source_id, said, config_id, node_id, body)
values (3, 1795000050000, 1795000050000, 1, 4, 'notified', 2, null,
        '{"scope":{},"said":{"notified":"v02_000000000000000000000000002a"}}');

insert into event (sequence, at_ms, recorded_ms, control_plane_id, source_id, kind, node_id, body)
values (6, 1795000080000, 1795000080000, 1, 4, 'connection', 2, '{"node":"node-2","event":"opened","attributes":{}}'),
       (7, 1795000090000, 1795000090000, 2, 5, 'listening', null, '{"began":{"interval_ms":30000}}'),
       (9, 1795000110000, 1795000110000, 2, 4, 'retired', 3, '{"node":"node-1","by":"anna"}');

insert into mark (id, control_plane_id, source_id, kind, from_ms, until_ms, from_stored_after, until_stored_after, marks,
                  opened_sequence, touched_sequence)
values (1, 2, 5, 'read', 1795000120000, 1795000150000, 0, 0, 2, 10, 11);

insert into pace (control_plane_id, source_id, interval_ms)
values (2, 5, 30000);
