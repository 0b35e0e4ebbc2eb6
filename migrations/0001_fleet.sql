-- Who speaks, and what is said again and again.
--
-- A fleet of 100,000 nodes reports every 30 s, and says nearly always what it said before. So whatever is long and comes
-- back (names, hashes, attributes) is stored once and known by a small number afterwards: a row of the past is then some
-- 60 bytes, and no index has random text in it but those below, which are written once for each new name.
--
-- The numbers are given by the one writer, not by the database: it knows the number of a new row before the row is
-- written, and may write hundreds of rows with one statement.

-- Where facts come from. The words are those of the domain (`Source::word`); a new source is a row of a new migration.
create table source (
    id   integer primary key,
    word text not null unique check (word <> '')
) strict;

insert into source (id, word)
values (1, 'tap'),
       (2, 'shadow'),
       (3, 'status'),
       (4, 'push'),
       (5, 'admin_api'),
       (6, 'konnect'),
       (7, 'access_log'),
       (8, 'import');

-- What publishes configuration.
create table control_plane (
    id   integer primary key,
    name text not null unique check (length(name) between 1 and 63)
) strict;

-- A data plane. Its id is a name inside its control plane only.
create table node (
    id               integer primary key,
    control_plane_id integer not null references control_plane (id),
    name             text    not null check (length(name) between 1 and 128),
    unique (control_plane_id, name)
) strict;

-- What configurations are called: the 32 characters of the hash slot, or a token that is not of that form. The same text
-- may be either, and the two are not the same thing.
create table config (
    id   integer primary key,
    form text not null check (form in ('hash', 'token')),
    name text not null check (length(name) between 1 and 128),
    unique (name, form),
    check (form = 'token' or length(name) = 32)
) strict;

-- All that a report says beside the configuration and the time: attributes, status, failure, ready, as the domain writes
-- them. Equal texts are one row, found by their digest (the first 16 bytes of SHA-256).
create table attribute_set (
    id     integer primary key,
    digest blob not null unique check (length(digest) = 16),
    body   text not null check (json_valid(body))
) strict;
