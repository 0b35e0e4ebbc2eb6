insert into report_closed (id, node_id, source_id, config_id, attribute_set_id, from_ms, until_ms, from_stored_after,
                           until_stored_after, from_uncertain_ms, until_uncertain_ms, skew_ms, reports,
                           opened_sequence, touched_sequence)
values (4, 1, 4, 1, 2, 1795000000000, 1795000030000, 0, 5, 0, 0, 12, 2, 1, 2);

insert into report_open (id, node_id, source_id, config_id, attribute_set_id, from_ms, until_ms, from_stored_after,
                         until_stored_after, from_uncertain_ms, until_uncertain_ms, skew_ms, reports,
                         opened_sequence, touched_sequence)
values (1, 1, 4, 2, 2, 1795000060000, 1795000060000, 0, 0, 0, 0, null, 1, 4, 4),
       (2, 3, 5, null, 1, 1795000070000, 1795000100000, 0, 0, 1500, 1500, null, 2, 5, 8);
