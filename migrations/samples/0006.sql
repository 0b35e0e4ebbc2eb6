-- A control plane with a route, a minute of it in the journal and another in sums, and what a sync cost.
insert into telemetry_scope (id, control_plane) values (1, 'prod');
insert into telemetry_name (id, scope_id, kind, name) values (1, 1, 2, 'orders-v1'), (2, 1, 5, 'gw-1');
insert into telemetry_journal (id, at_ms, rows) values (1, 1795164837000, x'00');
insert into telemetry_body (id, at_ms, digests) values (1, 1795164837000, zeroblob(32));
insert into telemetry_sums (id, kind, step_s, at_s, scope_id, whole, cells)
values (1, 0, 60, 1795164780, 1, x'0000000000000000000000000000', x'00');
update telemetry_progress set minutes_s = 1795164780 where only = 1;
insert into sync_cost (scope_id, node_id, at_ms, config, mode, bytes, apply_ms)
values (1, 2, 1795164837000, 'c6ee22cecbb5f8a7714966db3931b7b1', 'full', 2900000, 850);
