insert into control_plane (id, name)
values (1, 'prod-eu'),
       (2, 'prod-us');

insert into node (id, control_plane_id, name)
values (1, 1, 'node-1'),
       (2, 1, 'node-2'),
       (3, 2, 'node-1');

insert into config (id, form, name)
values (1, 'hash', '6de1944179b6c16febb0a724310a4d49'),
       (2, 'hash', 'v02_000000000000000000000000002a'),
       (3, 'token', 'release-9');

insert into attribute_set (id, digest, body)
values (1, unhex('000102030405060708090a0b0c0d0e0f'), '{"attributes":{}}'),
       (2, unhex('101112131415161718191a1b1c1d1e1f'),
        '{"attributes":{"hostname":"dp-1","gateway_version":"3.9.1","labels":{"region":"eu"}},"status":"normal"}');
