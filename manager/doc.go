// Package manager is the control plane: it takes the agents' reports, keeps the
// picture of the fleet, decides, holds the claims, and conducts the moves.
//
// Core is a single-threaded state machine: sessions, reports, results of
// orders, operators' requests and ticks come in with the time as an argument;
// effects leave through small interfaces (Link to an agent, store.Store for the
// truth, Background for slow work). Manager is the loop that owns one Core and
// lets many goroutines in.
//
// One pass, in files: session and ingest bring the picture, risk scores it, dca
// decides, wish plans rows, conduct carries each row one step on, claims and
// owed keep permission true, operate_* answer people. DESIGN.md tells the order
// of the steps and why each is where it is.
//
// What does not belong here: the network (manager/serve), certificates
// (manager/pki), SQL (store/sqlite), libvirt (the agents').
package manager
