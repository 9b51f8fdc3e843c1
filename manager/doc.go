// Package manager is the control plane: it takes the agents' reports, keeps the
// picture of the fleet, decides, holds the claims, and conducts the moves.
//
// Core is a single-threaded state machine: sessions, reports, results of
// orders, operators' requests and ticks come in with the time as an argument;
// effects leave through small interfaces (Link to an agent, store.Store for the
// truth, Background for slow work). Manager is the loop that owns one Core and
// lets many goroutines in.
//
// # Files
//
//   - The loop: manager (goroutines and the world), core (state, ticks,
//     transactions), book (what is written when there is time), policy, drive (the
//     Core without its loop, for simulators).
//   - What agents say: enrol, renew, session, ingest, fleet (hosts and what was
//     seen on them), orders (what they are told), virsh, certificates, revoke.
//   - Risk and what follows: risk and score, snapshot, decisions, pursue (rows for
//     what is to leave).
//   - Moves: move (an open row and what was seen of it), copies (the two hosts'
//     words as evidence), slots (a planned move begins when there is room), conduct
//     (one step on), byhand (virsh migrate), owed (what ended moves left to do),
//     lonely and leftovers (what no move accounts for).
//   - Claims: claims (adopt, confirm, release), permission (an agent asks whether a
//     guest may start), admission (may the host take anything?), protect, enforce,
//     verbs and resolve (a person's word), death, recovery and rebuild.
//   - What people see and ask for: operate_* (one group of requests a file),
//     present, metrics, retain.
//
// DESIGN.md tells the order of the passes and why each is where it is.
//
// What does not belong here: the network (manager/serve), certificates
// (manager/pki), SQL (store/sqlite), libvirt (the agents').
package manager
