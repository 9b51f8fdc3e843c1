package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/configs"
)

// Solo is what the hook goes by when no agent answers.
type Solo struct {
	Journal string // path
	BootID  string
	Mode    configs.HookMode
	Down    configs.AgentDown
	Exempt  []string // names
	Why     string   // no agent answers, in words
}

// Alone decides without the agent, from the journal's file. A start that it
// permits leaves a mark beside the journal first; a start that it refuses for
// want of permission leaves one as well, so that the agent can make up for an
// autostart.
func Alone(s Solo, r Request, now time.Time) Answer {
	if s.Mode == configs.HookOff {
		return Answer{Allow: true}
	}
	message := s.refuses(r, now)
	return Answer{Allow: message == "" || s.Mode != configs.HookEnforce, Message: message}
}

// refuses says why not; "" permits.
func (s Solo) refuses(r Request, now time.Time) string {
	subject, err := Subject(r)
	if err != nil {
		return err.Error()
	}
	mark := journal.Mark{UUID: subject.UUID, Name: subject.Name, At: now.Round(0)}
	if s.Mode != configs.HookEnforce {
		mark.Ground = journal.Observed
	}
	// The mark comes first: an agent that is only slow journals that it gives the
	// domain up, and then looks for marks.
	marked := journal.LeaveMark(s.Journal, mark)
	j, message := s.judge(r, subject)
	switch {
	case message == "" && j.Decision == Permit && marked != nil:
		message = fmt.Sprintf("a start of %s can't be recorded: %v", subject.Name, marked)
	case message == "" && j.Ground != "":
		mark.Ground = j.Ground
		if err := journal.LeaveMark(s.Journal, mark); err != nil {
			message = fmt.Sprintf("a start of %s can't be recorded: %v", subject.Name, err)
		}
	}
	switch {
	case message == "", s.Mode != configs.HookEnforce:
	case j.Decision == Ask && r.Operation != Migrate && marked == nil:
		mark.Refused = true
		// What can't be marked is not made up for; it is refused all the same.
		_ = journal.LeaveMark(s.Journal, mark)
	default:
		_ = journal.TakeMark(s.Journal, subject.UUID) // one that stays only delays a release
	}
	return message
}

// judge says what the journal's file and the configuration permit.
func (s Solo) judge(r Request, subject virt.Domain) (Judgement, string) {
	state, trouble := s.read()
	m := Memory{
		Domain:  state.Domains[subject.UUID],
		Exempt:  slices.Contains(s.Exempt, subject.Name),
		Allowed: r.Allowed,
	}
	if trouble != "" && m.Domain.Attempt == nil {
		m.Domain.Phase, m.Domain.Confirmed = "", false
	}
	j := Judge(r.Operation, subject, m)
	because := s.Why
	if trouble != "" {
		because += "; " + trouble
	}
	switch {
	case j.Decision == Refuse:
		return j, j.Reason
	case j.Decision == Admit:
		return j, fmt.Sprintf("%s may not come in: %s", subject.Name, because)
	case j.Ground != "":
		return j, ""
	case s.Down == configs.Allow && r.Operation != Migrate && departing(m.Domain) == nil:
		if j.Decision == Ask {
			j.Ground = journal.AgentDown
		}
		j.Decision = Permit
		return j, ""
	case j.Decision == Permit && s.Down == configs.AllowHeld:
		return j, ""
	case j.Decision == Permit:
		j.Decision = Ask
		return j, fmt.Sprintf("%s, and hook.agent_down is %q", because, s.Down)
	}
	return j, fmt.Sprintf("%s, and %s", j.Reason, because)
}

// read returns what the journal forbids, and what it permits if it is whole and
// of this boot; trouble says why it permits nothing.
func (s Solo) read() (state journal.State, trouble string) {
	state, err := journal.Read(s.Journal)
	var bad *journal.DamagedError
	switch {
	case err == nil && state.Host.BootID == s.BootID:
		return state, ""
	case err == nil:
		return state.Doubt(false), "its journal is of another boot"
	case errors.As(err, &bad):
		return state.Doubt(state.Host.BootID == s.BootID), err.Error()
	case errors.Is(err, fs.ErrNotExist):
		return journal.State{}, "there is no journal of this boot"
	}
	return journal.State{}, err.Error()
}
