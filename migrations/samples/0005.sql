-- One changeset that reached all of one cohort, and none of another.
insert into propagation (control_plane_id, changeset, last_version, protocol, gateway, published_ms, final_ms, nodes,
                         reached, p50_ms, p90_ms, p99_ms, max_ms, curve, stragglers)
select min(id), 1, 3, 'v1', '3.9.1', 1795164837000, 1795164900000, 2, 2, 900, 2100, 2100, 2100, '[[900,1],[2100,2]]', '[]'
  from control_plane
union all
select min(id), 1, 3, 'v1', '3.8.1', 1795164837000, 1795164900000, 1, 0, null, null, null, null, '[]', '["gw-1"]'
  from control_plane;
