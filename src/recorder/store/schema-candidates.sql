-- Keyed hashes of the devices at a candidate, so that those of several inputs can be united.
ALTER TABLE candidate ADD COLUMN devices BLOB NOT NULL DEFAULT x'';
