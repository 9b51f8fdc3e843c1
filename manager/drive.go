package manager

import "time"

// What the service does for operators, for whoever drives a Core without the
// loop around it.

// Evacuate empties a host, as EvacuateHost does, and returns the decision's id.
func (c *Core) Evacuate(now time.Time, host, who, reason string) (decision string, err error) {
	d, err := c.evacuate(now, host, who, reason)
	if err != nil {
		return "", err
	}
	return d.ID, nil
}

// Return takes a host back into service, as ReturnHost does.
func (c *Core) Return(now time.Time, host, who, reason string) error {
	return c.giveBack(now, host, who, reason)
}

// Abort gives a move up, as AbortMigration does.
func (c *Core) Abort(now time.Time, migration, who, reason string) error {
	_, err := c.abort(now, migration, who, reason)
	return err
}
