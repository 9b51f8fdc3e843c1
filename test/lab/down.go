package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Down takes away whatever a lab of this machine has made, also one whose maker
// was killed; it does nothing if there is none. What cannot be removed is named,
// everything else is, and a second Down tries the rest again.
func Down(say func(string)) error {
	if say == nil {
		say = func(string) {}
	}
	things, err := readMade()
	if errors.Is(err, os.ErrNotExist) {
		// Killed before the first thing, or not up at all.
		if err := os.Remove(filepath.Join(Dir, "made.jsonl")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Remove(Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	rebooted := len(things) > 0 && things[0].Kind == kindBegin && things[0].Boot != machineBoot()
	// Processes first and all of them, so that nothing is in use any more.
	var failed []error
	ends := func(t thing) bool { return t.Kind == kindProcess }
	for _, pass := range []func(thing) bool{ends, func(t thing) bool { return !ends(t) }} {
		for _, t := range slices.Backward(things) {
			if !pass(t) || rebooted && t.Kind != kindDir {
				continue
			}
			if t.Kind == kindDir && len(failed) > 0 {
				continue // it holds the list that a second Down needs
			}
			if err := t.undo(); err != nil {
				failed = append(failed, err)
				say(fmt.Sprintf("not removed: %v", err))
			}
		}
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	// Nothing was written down yet but the beginning.
	if err := os.RemoveAll(Dir); err != nil {
		return err
	}
	return nil
}

// Down takes the lab away.
func (l *Lab) Down() error { return Down(l.Options.Say) }
