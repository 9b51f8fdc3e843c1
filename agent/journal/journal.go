package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Journal is an open journal. It is not safe for concurrent use: the loop that
// owns the agent's state owns it too.
type Journal struct {
	path  string
	lock  *os.File
	file  *os.File
	tail  tail
	state State
	// broken is set when the file could not be brought back to its last whole
	// record after a failed write; the next write begins a new file.
	broken bool
}

// Restored says what a journal was opened on.
type Restored struct {
	// Kept: it is of this boot and whole; its entries count as they stand.
	Kept bool
	// Lost: an agent of this boot has journaled what is not there any more. A
	// call that nobody remembers may still be out.
	Lost bool
	// Problem is not nil when the file was damaged, *DamagedError; the file is
	// kept beside the new one as PATH.damaged.
	Problem error
}

// Open opens the journal at path for the host as it is now (BootID, Name,
// MachineID), or begins one. What it starts from:
//
//   - a whole file of this boot counts as it stands;
//   - one of another boot, a damaged one, or only the copy: what they forbid
//     stays, nothing of it is permission (State.Doubt).
//
// copyPath may be empty. Only one process has a journal open at a time.
func Open(path, copyPath string, now Host) (*Journal, Restored, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, Restored{}, fmt.Errorf("lock journal: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, Restored{}, fmt.Errorf("lock journal %s: another agent has it: %w", path, err)
	}
	j := &Journal{path: path, lock: lock}
	restored, err := j.restore(copyPath, now)
	if err != nil {
		j.Close()
		return nil, Restored{}, err
	}
	return j, restored, nil
}

func (j *Journal) restore(copyPath string, now Host) (Restored, error) {
	s, t, err := read(j.path)
	var bad *DamagedError
	var r Restored
	switch {
	case err == nil && s.Host.BootID == now.BootID:
		return Restored{Kept: true, Lost: s.Host.Lost}, j.resume(s, t, now)
	case err == nil:
		s = s.Doubt(false)
	case errors.As(err, &bad):
		r.Problem, r.Lost = err, true
		s = s.Doubt(s.Host.BootID == "" || s.Host.BootID == now.BootID)
		if err := os.Rename(j.path, j.path+".damaged"); err != nil {
			return r, fmt.Errorf("put the damaged journal aside: %w", err)
		}
	case errors.Is(err, fs.ErrNotExist):
		s = State{Domains: map[string]Domain{}}
	default:
		return r, err
	}
	if copyPath != "" {
		// The copy is best effort: one that can't be read says nothing.
		if old, err := Read(copyPath); err == nil {
			r.Lost = r.Lost || old.Host.BootID == now.BootID
			s = merge(s, old.Doubt(old.Host.BootID == now.BootID))
		}
	}
	s.Host = adopt(s.Host, now)
	s.Host.Lost = r.Lost // also for an agent that is started before this is over
	j.state = s
	return r, j.rewrite()
}

// resume goes on behind the last whole record.
func (j *Journal) resume(s State, t tail, now Host) error {
	f, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	j.file, j.tail, j.state = f, t, s
	if err := f.Truncate(t.size); err != nil {
		return fmt.Errorf("cut journal %s back to its last whole record: %w", j.path, err)
	}
	if h := adopt(s.Host, now); h != s.Host {
		return j.SetHost(h)
	}
	return nil
}

// adopt gives the host its present identity and keeps what was learnt.
func adopt(old, now Host) Host {
	old.BootID, old.Name, old.MachineID = now.BootID, now.Name, now.MachineID
	if now.LibvirtUUID != "" {
		old.LibvirtUUID = now.LibvirtUUID
	}
	return old
}

// merge takes of both what forbids more.
func merge(a, b State) State {
	out := a.Clone()
	h := &out.Host
	switch {
	case b.Host.Generation > h.Generation:
		h.Generation, h.Term = b.Host.Generation, b.Host.Term
	case b.Host.Generation == h.Generation:
		h.Term = max(h.Term, b.Host.Term)
	}
	h.TakesNothing = h.TakesNothing || b.Host.TakesNothing
	if h.LibvirtUUID == "" {
		h.LibvirtUUID = b.Host.LibvirtUUID
	}
	for uuid, d := range b.Domains {
		mine, known := out.Domains[uuid]
		if !known || mine.Generation < d.Generation || mine.Generation == d.Generation && mine.Epoch < d.Epoch {
			mine, d = d.Clone(), mine
		}
		for _, v := range d.Void {
			if !mine.IsVoid(v.Attempt) {
				mine.Void = append(mine.Void, v)
			}
		}
		if a := d.Attempt; a != nil && a.Stage == Void && !mine.IsVoid(a.ID) {
			mine.Void = append(mine.Void, Voided{Attempt: a.ID, Epoch: d.Epoch})
		}
		out.Domains[uuid] = mine
	}
	return out
}

// State returns what the journal says; the caller must not change it.
func (j *Journal) State() State { return j.state }

// SetHost journals the host's part. When it returns nil a restarted agent knows it.
func (j *Journal) SetHost(h Host) error {
	if err := j.append(record{Host: &h}); err != nil {
		return err
	}
	j.state.Host = h
	return nil
}

// SetDomain journals one domain's entry.
func (j *Journal) SetDomain(d Domain) error {
	d = d.Clone()
	if err := j.append(record{Domain: &d}); err != nil {
		return err
	}
	j.state.Domains[d.UUID] = d
	return nil
}

// Forget removes one domain's entry.
func (j *Journal) Forget(uuid string) error {
	if err := j.append(record{Forget: uuid}); err != nil {
		return err
	}
	delete(j.state.Domains, uuid)
	return nil
}

func (j *Journal) append(r record) error {
	if j.broken {
		if err := j.rewrite(); err != nil {
			return err
		}
	}
	line, crc, err := encode(nil, j.tail.crc, r)
	if err != nil {
		return err
	}
	if _, err := j.file.WriteAt(line, j.tail.size); err != nil {
		// What was written of it must not stand in the next record's way.
		j.broken = j.file.Truncate(j.tail.size) != nil
		return fmt.Errorf("write journal %s: %w", j.path, err)
	}
	next := tail{size: j.tail.size + int64(len(line)), crc: crc, count: j.tail.count + 1}
	if _, err := j.file.WriteAt(fmt.Appendf(nil, "%016x", next.count), int64(countAt)); err != nil {
		j.broken = true
		return fmt.Errorf("write journal %s: %w", j.path, err)
	}
	j.tail = next
	return nil
}

// Tidy writes the file anew when it is mostly history. Call it when nothing is
// urgent; an error leaves the journal as it is.
func (j *Journal) Tidy() error {
	if j.tail.size < rewriteAt && !j.broken {
		return nil
	}
	out, _, err := encodeAll(j.state)
	if err != nil {
		return err
	}
	if !j.broken && j.tail.size < rewriteFor*int64(len(out)) {
		return nil
	}
	return j.rewrite()
}

// rewrite begins a new file that says the present state, and goes on in it.
func (j *Journal) rewrite() error {
	out, t, err := encodeAll(j.state)
	if err != nil {
		return err
	}
	if err := replace(j.path, out, false); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	if j.file != nil {
		_ = j.file.Close() // it was replaced
	}
	j.file, j.tail, j.broken = f, t, false
	return nil
}

// Close gives the journal up; its content stays.
func (j *Journal) Close() error {
	var err error
	if j.file != nil {
		err = j.file.Close()
	}
	return errors.Join(err, j.lock.Close())
}
