package pfa

import (
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// DriveOf makes a labelled history of a hard drive from what was read of it,
// oldest first. failed is when it broke, zero if it did not; what broke before it
// was first read has not failed in this history. False for what is no ATA drive,
// or was never read.
//
// The axis is power-on hours where the drive reports them, as in other
// histories; a drive that does not is taken to have been on since it was first
// seen.
func DriveOf(component string, readings []signal.Reading, failed time.Time) (Drive, bool) {
	kind, serial, _ := strings.Cut(component, ":")
	if kind != "disk" || serial == "" {
		return Drive{}, false
	}
	d := Drive{Serial: serial}
	columns := map[string]int{}
	for c, col := range historyCols {
		columns[tracked[col.index]] = c
	}
	var now Segment
	hours, counted := Axis(0), false
	protocol, rotation := "", -1.0
	flush := func() {
		n := len(d.Segments)
		if now.Has != 0 && (n == 0 || d.Segments[n-1].Values != now.Values || d.Segments[n-1].Has != now.Has) {
			d.Segments = append(d.Segments, now)
		}
	}
	for i := 0; i < len(readings); {
		day := readings[i].ObservedAt.UTC().Truncate(24 * time.Hour)
		for ; i < len(readings) && readings[i].ObservedAt.Before(day.AddDate(0, 0, 1)); i++ {
			r := &readings[i]
			switch {
			case r.Component != component || r.Status != signal.OK:
			case r.Signal == signal.DriveModel:
				d.Model = Family(bounded(r.Text))
			case r.Signal == signal.DriveProtocol:
				protocol = r.Text
			case r.Value == nil:
			case r.Signal == signal.DriveRotation:
				rotation = *r.Value
			case r.Signal == signal.SmartPowerOnHours:
				if v, ok := clean(r.Signal, *r.Value); ok && Axis(v) >= hours {
					hours, counted = Axis(v), true
				}
			default:
				c, ok := columns[r.Signal]
				if v, fits := clean(r.Signal, *r.Value); ok && fits && v <= 1<<32-1 {
					now.Values[c], now.Has = uint32(v), now.Has|1<<c
				}
			}
		}
		if d.First.IsZero() {
			d.First, d.HoursFirst = day, hours
		} else if !counted {
			hours = d.HoursFirst + Axis(day.Sub(d.First)/time.Hour)
		}
		now.Start = hours
		d.Last, d.HoursLast = day, hours
		flush()
	}
	if len(d.Segments) == 0 || protocol != "" && protocol != "ATA" || rotation == 0 {
		return Drive{}, false
	}
	if d.Failed = !failed.IsZero() && !failed.UTC().Truncate(24*time.Hour).Before(d.First); d.Failed {
		if day := failed.UTC().Truncate(24 * time.Hour); day.Before(d.Last) { // read on after it was marked
			d.cut(day)
		}
	}
	d.HoursLast++ // it was alive in its last hour
	d.DateError = float64(d.HoursLast-d.HoursFirst)/24 - d.Last.Sub(d.First).Hours()/24
	return d, true
}

// cut ends a history on a day.
func (d *Drive) cut(day time.Time) {
	hours := d.HoursFirst + Axis(day.Sub(d.First)/time.Hour)
	n := len(d.Segments)
	for n > 1 && d.Segments[n-1].Start > hours {
		n--
	}
	d.Segments = d.Segments[:n:n]
	d.Last, d.HoursLast = day, max(hours, d.Segments[n-1].Start)
}
