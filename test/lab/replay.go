package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// ErrReplay is a replay that cannot be: no such drive, no such days.
var ErrReplay = errors.New("cannot replay the drive")

// Replay says which days of a recorded drive a host shows, and how fast.
type Replay struct {
	Serial   string
	Drives   string        // directory of the records, SERIAL.csv each; "": FindDrives
	From, To int           // days counted from the last recorded one: -25 to 0
	Failed   bool          // on the last of these days the drive's own verdict is FAILED
	Every    time.Duration // real time per recorded day; 0: only the last day is seen
}

// Replay makes a host's smartctl print one recorded day after the other, tells
// out about each, and returns after the last one or when ctx is done.
func (l *Lab) Replay(ctx context.Context, host string, r Replay, out io.Writer) error {
	if l.host(host).Name == "" {
		return fmt.Errorf("%w: there is no host %q", ErrReplay, host)
	}
	if r.Drives == "" {
		dir, err := FindDrives(l.Options.Bin)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrReplay, err)
		}
		r.Drives = dir
	}
	drive, err := ReadDrive(filepath.Join(r.Drives, r.Serial+".csv"))
	if errors.Is(err, fs.ErrNotExist) {
		records, err := filepath.Glob(filepath.Join(r.Drives, "*.csv"))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrReplay, err)
		}
		for i := range records {
			records[i] = strings.TrimSuffix(filepath.Base(records[i]), ".csv")
		}
		return fmt.Errorf("%w: no drive %q in %s; there are %s", ErrReplay, r.Serial, r.Drives, strings.Join(records, ", "))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReplay, err)
	}
	var days []DriveDay
	for _, day := range drive.Days {
		if day.Offset >= r.From && day.Offset <= r.To {
			days = append(days, day)
		}
	}
	if len(days) == 0 {
		return fmt.Errorf("%w: no day of %s is between %d and %d; there are %d to %d", ErrReplay, r.Serial, r.From, r.To, drive.Days[0].Offset, 0)
	}
	days[len(days)-1].Failed = r.Failed
	tick := time.NewTicker(max(r.Every, time.Nanosecond))
	defer tick.Stop()
	for i, day := range days {
		if i > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
		if err := l.ShowDrive(host, drive, day); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s  day %3d  %s  %s\n", host, day.Offset, r.Serial, day.summary()); err != nil {
			return err
		}
	}
	return nil
}

// summary names the attributes that tell most about a drive's end.
func (d DriveDay) summary() string {
	var words []string
	for _, a := range d.Attributes {
		switch a.ID {
		case 5, 187, 188, 197, 198:
			words = append(words, fmt.Sprintf("%d=%d", a.ID, a.Raw))
		}
	}
	return strings.Join(words, " ")
}
