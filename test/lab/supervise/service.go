package supervise

import "time"

// Delay is the time between a service's end and its next start.
const Delay = time.Second

// Service is a program that should run.
type Service struct {
	Name    string   `json:"name"`
	Argv    []string `json:"argv"`            // Argv[0] is looked up in Env's PATH, or the supervisor's
	Env     []string `json:"env,omitempty"`   // added to the supervisor's own
	Log     string   `json:"log"`             // file that takes its standard output and error, appended
	Nice    int      `json:"nice,omitempty"`  // its priority, as systemd's Nice with a CPUWeight to match
	Restart bool     `json:"restart"`         // start it again when it ends
	Dirs    []string `json:"dirs,omitempty"`  // made before it starts if they are missing, as systemd makes RuntimeDirectory
	Ready   string   `json:"ready,omitempty"` // Unix socket that accepts when the service is up; the next service waits for it
}

// Status is what became of a service.
type Status struct {
	Name   string    `json:"name"`
	PID    int       `json:"pid"` // in the supervisor's pid namespace; 0 while it does not run
	Starts int       `json:"starts"`
	Since  time.Time `json:"since"`          // its last start
	Exit   string    `json:"exit,omitempty"` // how it ended the last time: "exit 1", "signal 9", or why it could not be started
	Wanted bool      `json:"wanted"`         // false once it was told to stop
}
