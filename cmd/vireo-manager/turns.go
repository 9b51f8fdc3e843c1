package main

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/cmd/internal/stores"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/manager/serve"
	"github.com/vireo-kvm/vireo/store/etcd"
)

// takeTurns is one of several managers: it stands by until it is elected, leads
// until it loses the lead, and stands by again.
func (h *house) takeTurns(ctx context.Context) error {
	o, err := stores.Etcd(h.cfg)
	if err != nil {
		return err
	}
	o.Log = h.log
	o.Succeeds = true // the lock on the readings' database says that no other process is this manager
	port, err := net.Listen("tcp", h.cfg.Listen)
	if err != nil {
		return err
	}
	h.port = port.(*net.TCPListener)
	defer h.port.Close()
	// One that stops lets nobody wait in vain.
	defer context.AfterFunc(ctx, func() { h.port.Close() })()
	for {
		db, err := h.standBy(ctx, o)
		if err != nil {
			if ctx.Err() != nil {
				return nil // it was told to stop
			}
			return err
		}
		led, err := h.leadWhile(ctx, db)
		switch {
		case ctx.Err() != nil && errors.Is(err, context.Canceled):
			return nil // it was told to stop
		case ctx.Err() != nil, led: // the lead was not the matter
			return err
		}
		h.log.Warn("the lead is lost; this manager stands by", "term", db.Identity().Term, "err", err)
	}
}

// leadWhile leads until the lead is lost, and closes the store. led says that the
// lead was not lost but given away.
func (h *house) leadWhile(ctx context.Context, db *etcd.DB) (led bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	resign := sync.OnceFunc(func() {
		led = db.Leads()
		if cerr := db.Close(); cerr != nil {
			h.log.Warn("leaving etcd", "err", cerr)
		}
	})
	defer resign()
	go func() {
		select {
		case <-db.Lost():
			stop()
		case <-ctx.Done():
		}
	}()
	err = h.lead(ctx, db, db.Leads, resign)
	return led, err
}

// standBy answers who leads, and returns once this manager does.
func (h *house) standBy(ctx context.Context, o etcd.Options) (*etcd.DB, error) {
	var url atomic.Pointer[string]
	nobody := ""
	url.Store(&nobody)
	server := serve.NewStandby(serve.Options{
		Metrics: metrics(false, h.keeper.Own, h.ca), Health: func(context.Context) error { return nil },
		MetricsToken: metricsToken(h.cfg.Metrics.TokenFile), Revoked: func(*x509.Certificate) bool { return false },
		TLS: pki.ServerTLS(h.keeper.Own, h.ca.Pool(), func(*x509.Certificate) bool { return false }, daemon.Clock{}.Now),
		Now: daemon.Clock{}.Now, Log: h.log,
	}, func() string { return *url.Load() })
	https, socket, err := h.listen()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() {
		defer stop()
		served <- server.Run(ctx, https, socket)
	}()
	h.log.Info("this manager stands by", "listen", https.Addr().String(), "etcd", o.Endpoints, "as", o.Address)
	h.ready()

	db, err := elect(ctx, o, func(l etcd.Leader) {
		address := l.Address
		if address == o.Address {
			address = "" // it was us, in an earlier term
		}
		url.Store(&address)
		h.log.Info("leader", "url", l.Address, "generation", l.Generation, "term", l.Term)
	})
	stop()
	if serr := <-served; serr != nil {
		err = errors.Join(serr, err)
	}
	if err != nil && db != nil {
		err = errors.Join(err, db.Close())
		db = nil
	}
	return db, err
}

// elect connects, tells who leads, and returns the store once this manager does.
// The store takes the connection along when it is closed.
func elect(ctx context.Context, o etcd.Options, told func(etcd.Leader)) (*etcd.DB, error) {
	c, err := etcd.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	wctx, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.Watch(wctx, told)
	}()
	db, err := c.Campaign(ctx)
	stop()
	<-watched
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	db.OwnConnection()
	return db, nil
}
