package receiver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/vireo-kvm/vireo/test/heartbeat"
)

// Client asks a receiver.
type Client struct {
	http *http.Client
}

// NewClient returns a client of the receiver that listens on a Unix socket.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
	}}}
}

func (c *Client) do(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://heartbeats"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the heartbeat receiver: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, fmt.Errorf("ask the heartbeat receiver for %s: %s", path, res.Status)
	}
	return res, nil
}

// Guests returns what the receiver knows now.
func (c *Client) Guests(ctx context.Context) ([]heartbeat.Guest, error) {
	res, err := c.do(ctx, http.MethodGet, "/guests")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var guests []heartbeat.Guest
	if err := json.NewDecoder(res.Body).Decode(&guests); err != nil {
		return nil, fmt.Errorf("answer of the heartbeat receiver: %w", err)
	}
	return guests, nil
}

// Guest returns what the receiver knows of one guest, or an error if it never heard of it.
func (c *Client) Guest(ctx context.Context, name string) (heartbeat.Guest, error) {
	guests, err := c.Guests(ctx)
	if err != nil {
		return heartbeat.Guest{}, err
	}
	for _, g := range guests {
		if g.Name == name {
			return g, nil
		}
	}
	return heartbeat.Guest{}, fmt.Errorf("no heartbeat of %s was ever seen", name)
}

// Follow calls each with what the receiver knows, once a second, until ctx is
// done, the receiver ends or each returns an error, which it returns.
func (c *Client) Follow(ctx context.Context, each func([]heartbeat.Guest) error) error {
	res, err := c.do(ctx, http.MethodGet, "/follow")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	dec := json.NewDecoder(bufio.NewReader(res.Body))
	for {
		var guests []heartbeat.Guest
		if err := dec.Decode(&guests); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("follow the heartbeat receiver: %w", err)
		}
		if err := each(guests); err != nil {
			return err
		}
	}
}

// Forget makes the receiver forget everything it has seen.
func (c *Client) Forget(ctx context.Context) error {
	res, err := c.do(ctx, http.MethodPost, "/forget")
	if err != nil {
		return err
	}
	return res.Body.Close()
}
