package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent/wire/leader"
	"github.com/vireo-kvm/vireo/configs"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

const (
	// lookFor is how long a leader is looked for: somebody leads again within it
	// after the last one has died.
	lookFor = 8 * time.Second
	// perManager is how long one manager may take to say whether it leads.
	perManager   = 2 * time.Second
	betweenLooks = 300 * time.Millisecond
)

// leading finds the manager that leads: each is asked, and who does not lead may
// name the one that does.
func leading(cfg configs.CLI) (managerv1connect.ManagerServiceClient, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookFor)
	defer cancel()
	for {
		client, again, err := lookOnce(ctx, cfg)
		if err == nil || !again {
			return client, err
		}
		select {
		case <-ctx.Done():
			return client, err
		case <-time.After(betweenLooks):
		}
	}
}

// errNobodyLeads is said with what each manager answered.
var errNobodyLeads = errors.New("no manager leads")

// lookOnce asks every manager once. again says that one was reached, so that one
// may lead soon.
func lookOnce(ctx context.Context, cfg configs.CLI) (_ managerv1connect.ManagerServiceClient, again bool, err error) {
	left := slices.Clone(cfg.Manager)
	asked := map[string]bool{}
	var errs []error
	for len(left) > 0 {
		manager := left[0]
		left = left[1:]
		if asked[manager] {
			continue
		}
		asked[manager] = true
		client, err := clientOf(cfg, manager)
		if err != nil {
			return nil, false, err // keys: the same for all
		}
		actx, cancel := context.WithTimeout(ctx, perManager)
		_, err = client.GetStatus(actx, connect.NewRequest(&managerv1.GetStatusRequest{}))
		cancel()
		url, follower := leader.Of(err)
		if err == nil || !follower && connect.CodeOf(err) != connect.CodeUnavailable && connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			return client, false, nil // it leads, or has something else to say
		}
		errs = append(errs, fmt.Errorf("%s: %w", manager, err))
		again = again || follower
		if url != "" {
			left = slices.Insert(left, 0, url)
		}
	}
	return nil, again, fmt.Errorf("%w: %w", errNobodyLeads, errors.Join(errs...))
}
