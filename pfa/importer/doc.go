// Package importer reads recorded telemetry that others have kept and makes
// readings of it: smartd's attribute logs, and tables (CSV, NDJSON, Parquet) in
// a schema of one reading a row:
//
//	component    text, as "disk:Z300V1RR"; one file may hold several
//	signal       text, a name of the catalogue such as "smart_197_raw"
//	observed_at  RFC 3339, or seconds since 1970
//	value        number; empty for signals that are words
//	text         words: a drive's model, protocol ("ATA"), firmware
//	boot_id      optional: counters of the kernel restart with it
//
// It is pure: files are opened elsewhere, Parquet is decoded elsewhere.
package importer
