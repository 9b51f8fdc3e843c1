package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	magic      = "vireo-journal"
	version    = "1"
	countLen   = 16
	headerLen  = len(magic) + 1 + len(version) + 1 + countLen + 1
	countAt    = headerLen - 1 - countLen
	crcLen     = 8
	maxFile    = 64 << 20 // no journal of ours comes near it
	rewriteAt  = 1 << 20  // bytes; from here on a file that is mostly history is written anew
	rewriteFor = 4        // times its living content
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is one line. Exactly one field is set.
type record struct {
	Host   *Host   `json:"host,omitempty"`
	Domain *Domain `json:"domain,omitempty"`
	Forget string  `json:"forget,omitempty"`
}

// DamagedError says that a journal can't be believed: cut, overwritten, zeroed,
// not a journal, or of another version.
type DamagedError struct {
	Path   string
	Record int // of the first bad one, from 1; 0: the header
	Why    string
}

func (e *DamagedError) Error() string {
	if e.Record == 0 {
		return fmt.Sprintf("journal %s: %s", e.Path, e.Why)
	}
	return fmt.Sprintf("journal %s: record %d: %s", e.Path, e.Record, e.Why)
}

// Read returns what the journal says. With a *DamagedError it returns what was
// said before the damage: good for what it forbids, never for what it permits.
// A file that does not exist is fs.ErrNotExist.
func Read(path string) (State, error) {
	s, _, err := read(path)
	return s, err
}

// tail is where the next record goes.
type tail struct {
	size  int64
	crc   uint32
	count uint64
}

func read(path string) (State, tail, error) {
	f, err := os.Open(path)
	if err != nil {
		return State{}, tail{}, fmt.Errorf("open journal: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return State{}, tail{}, fmt.Errorf("read journal %s: %w", path, err)
	}
	s, t, err := parse(raw)
	var bad *DamagedError
	if errors.As(err, &bad) {
		bad.Path = path
	}
	return s, t, err
}

// parse never fails with anything but a *DamagedError.
func parse(raw []byte) (State, tail, error) {
	s := State{Domains: map[string]Domain{}}
	count, err := parseHeader(raw)
	if err != nil {
		return s, tail{}, err
	}
	t := tail{size: int64(headerLen)}
	for rest := raw[headerLen:]; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		if !whole {
			break // was being written; counted below
		}
		bad := func(why string) (State, tail, error) {
			return s, t, &DamagedError{Record: int(t.count) + 1, Why: why}
		}
		if len(line) < crcLen+2 || line[crcLen] != ' ' {
			return bad("not a record")
		}
		want, err := strconv.ParseUint(string(line[:crcLen]), 16, 32)
		if err != nil {
			return bad("no checksum")
		}
		body := line[crcLen+1:]
		crc := checksum(t.crc, body)
		if uint32(want) != crc {
			return bad("checksum does not match")
		}
		if why := s.apply(body); why != "" {
			return bad(why)
		}
		t = tail{size: t.size + int64(len(line)) + 1, crc: crc, count: t.count + 1}
		rest = after
	}
	if t.count < count {
		return s, t, &DamagedError{Record: int(t.count) + 1,
			Why: fmt.Sprintf("cut short: %d of at least %d records are left", t.count, count)}
	}
	if s.Host.BootID == "" {
		return s, t, &DamagedError{Record: 1, Why: "nothing about the host"}
	}
	return s, t, nil
}

func parseHeader(raw []byte) (count uint64, err error) {
	bad := func(why string) (uint64, error) { return 0, &DamagedError{Why: why} }
	switch {
	case len(raw) > maxFile:
		return bad(fmt.Sprintf("larger than %d bytes", maxFile))
	case len(raw) == 0:
		return bad("empty")
	case len(bytes.Trim(raw, "\x00")) == 0:
		return bad("full of zeros")
	}
	line, _, whole := bytes.Cut(raw, []byte{'\n'})
	fields := strings.Split(string(line), " ")
	switch {
	case fields[0] != magic:
		return bad("not a journal")
	case len(fields) > 1 && fields[1] != version && whole:
		return bad(fmt.Sprintf("version %q, this agent reads %s", fields[1], version))
	case len(line)+1 != headerLen || len(fields) != 3 || !whole:
		return bad("header is cut short")
	}
	count, err = strconv.ParseUint(fields[2], 16, 64)
	if err != nil {
		return bad("header has no count")
	}
	return count, nil
}

// apply takes one record's JSON, strictly; why is "" when it did.
func (s *State) apply(body []byte) (why string) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	var r record
	if err := dec.Decode(&r); err != nil {
		return err.Error()
	}
	switch {
	case r.Host != nil && r.Host.BootID != "":
		s.Host = *r.Host
	case r.Domain != nil && r.Domain.UUID != "":
		s.Domains[r.Domain.UUID] = *r.Domain
	case r.Forget != "":
		delete(s.Domains, r.Forget)
	default:
		return "says nothing"
	}
	return ""
}

func checksum(before uint32, body []byte) uint32 {
	var seed [4]byte
	binary.BigEndian.PutUint32(seed[:], before)
	return crc32.Update(crc32.Update(0, castagnoli, seed[:]), castagnoli, body)
}

// encode appends one record's line to out.
func encode(out []byte, before uint32, r record) ([]byte, uint32, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, 0, fmt.Errorf("encode journal record: %w", err)
	}
	crc := checksum(before, body)
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc)
	out = hex.AppendEncode(out, sum[:])
	out = append(out, ' ')
	out = append(out, body...)
	return append(out, '\n'), crc, nil
}

func header(count uint64) []byte { return fmt.Appendf(nil, "%s %s %016x\n", magic, version, count) }

// Encode returns the file that says s and nothing older.
func Encode(s State) ([]byte, error) {
	out, _, err := encodeAll(s)
	return out, err
}

func encodeAll(s State) ([]byte, tail, error) {
	t := tail{count: uint64(len(s.Domains)) + 1}
	out := header(t.count)
	var err error
	if out, t.crc, err = encode(out, 0, record{Host: &s.Host}); err != nil {
		return nil, tail{}, err
	}
	for _, uuid := range s.UUIDs() {
		d := s.Domains[uuid]
		if out, t.crc, err = encode(out, t.crc, record{Domain: &d}); err != nil {
			return nil, tail{}, err
		}
	}
	t.size = int64(len(out))
	return out, t, nil
}

// Copy writes s to path, whole or not at all, and waits for the disk. Never
// call it from the loop that owns the state: the disk may be the dying one.
func Copy(path string, s State) error {
	out, err := Encode(s)
	if err != nil {
		return err
	}
	return replace(path, out, true)
}

// replace writes a file beside path and renames it into place.
func replace(path string, content []byte, sync bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("write journal %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err == nil && sync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what is left of the attempt
		return fmt.Errorf("write journal %s: %w", path, err)
	}
	return nil
}
