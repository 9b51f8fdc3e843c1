// Package journal is what a host knows about its claims and attempts, kept in
// an append-only, checksummed file.
//
// The file lives under /run, on tmpfs: permission to act alone ends with the
// boot, and a dying disk must not stop its own evacuation. It is never synced;
// it has to survive the agent, not the host. A best-effort copy under the
// state directory carries generation, term and epochs over a boot.
//
// # Format
//
// Version 1, 2026-11-23; the same day: names, the hook's mode, grounds of starts, admitted
// arrivals, owed autostarts, what an arrival by hand carries. Lines of text:
//
//	vireo-journal 1 COUNT
//	CRC JSON
//
// COUNT is 16 hexadecimal digits: at least that many records follow; it is
// overwritten in place after each record, so that a cut file is noticed even
// when it is cut between two lines. CRC is 8 hexadecimal digits, CRC-32C over
// the four bytes of the record's predecessor's CRC and the JSON: a line that
// was lost, doubled or moved is noticed as well. A record is the host's, one
// domain's, or says that a domain is forgotten; the last one of its kind counts.
//
// A last line without its end is a record that was being written when the
// agent died. Nobody had been told and nothing had been done because of it, so
// it is dropped, if COUNT records are there. Anything else that is wrong makes
// the journal damaged: then it is never permission, see Restore.
//
// # Marks
//
// Beside the journal, in PATH.marks, libvirt's hook leaves a file for each start
// that it has decided alone, because the agent was dead or hung: before it reads
// the journal. The agent looks there after it has journaled that it gives a
// domain up, and before it says so. One of the two sees the other.
//
// What does not belong here: what the entries mean for an order (package agent).
package journal
