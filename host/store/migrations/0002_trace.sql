-- Within which trace it happened; 32 hexadecimal digits.
ALTER TABLE events ADD COLUMN trace TEXT;
