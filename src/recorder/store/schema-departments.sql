-- Departments of devices, as the configuration had them when they were recorded; what a session sent.
ALTER TABLE actor ADD COLUMN department TEXT;
ALTER TABLE session ADD COLUMN bytes_up INTEGER NOT NULL DEFAULT 0;
