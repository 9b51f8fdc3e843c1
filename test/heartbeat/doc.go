// Package heartbeat measures, from outside, what a migration did to a guest.
//
// Every guest of the lab sends a [Beat] each 10 ms: its boot id and a counter
// that only grows. Package receiver sits on the switch that joins the hosts and
// takes each beat together with the switch port it came in by, so it knows which
// host really sent it, whatever libvirt says. The [Tracker] turns that stream
// into facts about each guest ([Guest]):
//
//   - downtime: the gaps between beats, to 20 ms;
//   - loss: a counter that jumped;
//   - a restart: a new boot id;
//   - a move: the counter going on by another port;
//   - a double run: a counter that was already seen coming again by another port
//     while the first sender still speaks, or a boot that was over speaking again;
//   - memory damage: errors that the guest itself counts in a pattern it keeps.
//
// Times are those the kernel stamped on the packets, so a receiver that had to
// wait for a processor measures nothing of its own.
package heartbeat
