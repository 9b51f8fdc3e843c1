package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// request is what a client sends, one per connection.
type request struct {
	Op      string   `json:"op"` // "list", "start" or "stop"
	Service *Service `json:"service,omitempty"`
	Name    string   `json:"name,omitempty"`
}

// response is what it gets.
type response struct {
	Error    string   `json:"error,omitempty"`
	Services []Status `json:"services,omitempty"`
}

// serve accepts clients until the listener is closed.
func (s *Supervisor) serve(ctx context.Context, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go s.answer(ctx, c)
	}
}

func (s *Supervisor) answer(ctx context.Context, c net.Conn) {
	defer c.Close()
	var req request
	var res response
	if err := json.NewDecoder(c).Decode(&req); err != nil {
		return
	}
	var wait <-chan struct{}
	ran := make(chan struct{})
	call := func() {
		defer close(ran)
		var err error
		switch {
		case req.Op == "list":
			res.Services = s.list()
		case req.Op == "start" && req.Service != nil:
			err = s.put(ctx, *req.Service)
		case req.Op == "stop":
			wait, err = s.stop(req.Name)
		default:
			err = fmt.Errorf("unknown request %q", req.Op)
		}
		if err != nil {
			res.Error = err.Error()
		}
	}
	select {
	case s.calls <- call:
		<-ran
	case <-ctx.Done():
		return
	}
	if wait != nil && res.Error == "" {
		select {
		case <-wait:
		case <-ctx.Done():
			return
		}
	}
	// A client that went away is no error of ours.
	_ = json.NewEncoder(c).Encode(res)
}

// Client tells a supervisor what to do.
type Client struct {
	Socket string // the supervisor's Unix socket
}

func (c Client) ask(ctx context.Context, req request) (response, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return response{}, fmt.Errorf("reach the supervisor: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return response{}, fmt.Errorf("tell the supervisor to %s: %w", req.Op, err)
	}
	var res response
	if err := json.NewDecoder(conn).Decode(&res); err != nil {
		return response{}, fmt.Errorf("answer of the supervisor: %w", errors.Join(err, ctx.Err()))
	}
	if res.Error != "" {
		return response{}, errors.New(res.Error)
	}
	return res, nil
}

// List returns the services, in the order of their first start.
func (c Client) List(ctx context.Context) ([]Status, error) {
	res, err := c.ask(ctx, request{Op: "list"})
	return res.Services, err
}

// Start adds a service and starts it, or gives one its new arguments, used at its next start.
func (c Client) Start(ctx context.Context, svc Service) error {
	_, err := c.ask(ctx, request{Op: "start", Service: &svc})
	return err
}

// Stop ends a service with SIGTERM, waits until it has ended, and keeps it so.
func (c Client) Stop(ctx context.Context, name string) error {
	_, err := c.ask(ctx, request{Op: "stop", Name: name})
	return err
}
