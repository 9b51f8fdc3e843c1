package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Mark is what libvirt's hook leaves beside the journal when it decides without
// the agent.
type Mark struct {
	UUID string    `json:"uuid"`
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	// Refused: the start was refused because nothing is confirmed. Else it was
	// permitted, on Ground, and is in progress.
	Refused bool   `json:"refused,omitempty"`
	Ground  Ground `json:"ground,omitempty"`
}

// maxMarks is how many marks are read at a time.
const maxMarks = 10_000

func marksOf(journal string) string { return journal + ".marks" }

func markFile(journal, uuid string) (string, error) {
	if uuid == "" || uuid != filepath.Base(uuid) || uuid[0] == '.' {
		return "", fmt.Errorf("mark beside journal %s: %q is no UUID", journal, uuid)
	}
	return filepath.Join(marksOf(journal), uuid), nil
}

// LeaveMark writes a mark beside the journal at path, whole or not at all. It
// replaces an earlier one of the same domain.
func LeaveMark(path string, m Mark) error {
	file, err := markFile(path, m.UUID)
	if err != nil {
		return err
	}
	if err := makeMarks(path); err != nil {
		return fmt.Errorf("mark beside journal: %w", err)
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("mark beside journal: %w", err)
	}
	return replace(file, append(body, '\n'), false)
}

// makeMarks makes the directory, and gives it to whom the run directory belongs:
// the hook is root, the agent need not be, and has to remove what it has read.
func makeMarks(path string) error {
	dir := marksOf(path)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	owner, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return err
	}
	if st, ok := owner.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return os.Chown(dir, int(st.Uid), int(st.Gid))
	}
	return nil
}

// Marks returns the marks beside the journal at path. One that can't be read
// counts as a start in progress of the domain in its name.
func Marks(path string) ([]Mark, error) {
	dir, err := os.Open(marksOf(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("marks beside journal: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxMarks)
	if err != nil && len(names) == 0 {
		return nil, nil // io.EOF: there are none
	}
	var out []Mark
	for _, name := range names {
		if strings.Contains(name, ".new-") {
			continue // being written: its writer has not gone on yet
		}
		m := Mark{}
		body, err := os.ReadFile(filepath.Join(marksOf(path), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // taken back meanwhile
		}
		if err != nil || json.Unmarshal(body, &m) != nil || m.UUID != name {
			m = Mark{UUID: name}
		}
		out = append(out, m)
	}
	return out, nil
}

// MarkOf returns one domain's mark, nil when there is none.
func MarkOf(path, uuid string) *Mark {
	file, err := markFile(path, uuid)
	if err != nil {
		return nil
	}
	body, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	m := Mark{}
	if err != nil || json.Unmarshal(body, &m) != nil || m.UUID != uuid {
		m = Mark{UUID: uuid}
	}
	return &m
}

// TakeMark removes one domain's mark; that there is none is fine.
func TakeMark(path, uuid string) error {
	file, err := markFile(path, uuid)
	if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mark beside journal: %w", err)
	}
	return nil
}

// Marks returns the marks beside this journal.
func (j *Journal) Marks() ([]Mark, error) { return Marks(j.path) }

// MarkOf returns one domain's mark, nil when there is none.
func (j *Journal) MarkOf(uuid string) *Mark { return MarkOf(j.path, uuid) }

// TakeMark removes one domain's mark.
func (j *Journal) TakeMark(uuid string) error { return TakeMark(j.path, uuid) }
