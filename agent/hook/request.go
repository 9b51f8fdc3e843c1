package hook

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Operation is what libvirt is about to do, in its own words.
type Operation string

// The operations that may be refused, each at its sub-operation "begin".
const (
	Prepare Operation = "prepare" // a process is about to be started, also for an incoming migration
	Migrate Operation = "migrate" // a migration is about to come in; nothing is locked yet
	Restore Operation = "restore" // from a managed save or a save file; prepare follows
)

// begin is the only sub-operation that matters.
const begin = "begin"

// Matters says whether libvirt's hook may be refused at that operation. At
// every other one the hook has to succeed whatever else is true.
func Matters(operation, subOperation string) bool {
	if subOperation != begin {
		return false
	}
	switch Operation(operation) {
	case Prepare, Migrate, Restore:
		return true
	}
	return false
}

// Limits of the conversation over the agent's socket.
const (
	// MaxXML is how large a domain's XML may be, in bytes.
	MaxXML = 4 << 20
	// maxRequest leaves room for what JSON escapes.
	maxRequest = 6*MaxXML + 4096
	maxAnswer  = 64 << 10
	// Deadline is how long the hook waits for the agent; everybody's virsh list
	// hangs meanwhile.
	Deadline = 2 * time.Second
	// AskWait is how long the agent waits for the leader of it.
	AskWait = 1500 * time.Millisecond
)

// Request is what the hook asks of the agent.
type Request struct {
	Name      string    `json:"name"` // of the domain, as libvirt says it
	Operation Operation `json:"operation"`
	XML       string    `json:"xml"`
	// Allowed is the reason that a person on this host has given for letting the
	// domain start without a claim; empty: nobody has.
	Allowed string `json:"allowed,omitempty"`
}

// Answer is what the agent says.
type Answer struct {
	Allow bool `json:"allow"`
	// Message is for the user of virsh, without prefix; empty when all is well.
	// An allowed one has it where the hook only observes.
	Message string `json:"message,omitempty"`
}

// Write sends v as one document.
func Write(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

// ReadRequest reads the hook's question up to the end of its side.
func ReadRequest(r io.Reader) (Request, error) {
	var q Request
	if err := read(r, maxRequest, &q); err != nil {
		return Request{}, fmt.Errorf("hook's request: %w", err)
	}
	if q.Name == "" || !Matters(string(q.Operation), begin) {
		return Request{}, fmt.Errorf("hook's request: operation %q of domain %q, expected a name and prepare, migrate or restore", q.Operation, q.Name)
	}
	return q, nil
}

// ReadAnswer reads the agent's answer up to its end.
func ReadAnswer(r io.Reader) (Answer, error) {
	var a Answer
	if err := read(r, maxAnswer, &a); err != nil {
		return Answer{}, fmt.Errorf("agent's answer: %w", err)
	}
	return a, nil
}

func read(r io.Reader, limit int, into any) error {
	body, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return err
	case len(body) > limit:
		return fmt.Errorf("longer than %d bytes", limit)
	}
	return json.Unmarshal(body, into)
}
