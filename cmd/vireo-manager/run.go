package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/cmd/internal/stores"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/manager/serve"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "run the manager until it is told to stop",
		Flags: []cli.Flag{configFlag()},
		Action: func(c *cli.Context) error {
			cfg, err := daemon.Config(c, configs.LoadManager)
			if err != nil {
				return err
			}
			log := daemon.Log(cfg.Log, os.Stderr)
			return run(c.Context, cfg, log)
		},
	}
}

// run is the manager, from the lock on its database to the last answer.
func run(ctx context.Context, cfg configs.Manager, log *slog.Logger) error {
	ca, own, err := pki.Load(cfg.PKIDir)
	if err != nil {
		return notInitialised(err)
	}
	model, err := loadModel(cfg.Model)
	if err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, cfg.Database())
	if err != nil {
		return err
	}
	defer db.Close()
	// What opening has not read is read now. Damage ends the manager by its name:
	// the disk that has lost readings will lose claims next.
	ctx, stop := context.WithCancel(ctx)
	checked := make(chan error, 1)
	go func() {
		err := db.CheckReadings(ctx)
		if errors.Is(err, store.ErrCorrupt) {
			stop()
		}
		checked <- err
	}()
	h := &house{cfg: cfg, log: log, ca: ca, keeper: pki.Keep(cfg.PKIDir, ca, own), model: model, readings: db}
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		h.keepCertificate(ctx)
	}()
	if cfg.Store == configs.StoreEtcd {
		err = h.takeTurns(ctx)
	} else {
		err = h.lead(ctx, db, nil, func() {})
	}
	stop()
	<-kept
	if cerr := <-checked; errors.Is(cerr, store.ErrCorrupt) {
		err = errors.Join(err, cerr)
	}
	return err
}

// house is what a manager has, whether it leads or not.
type house struct {
	cfg      configs.Manager
	log      *slog.Logger
	ca       *pki.CA
	keeper   *pki.Keeper
	model    *pfa.Model
	readings store.Readings
	port     *net.TCPListener // of one that takes turns: open from one turn to the next
	once     sync.Once        // systemd is told
}

// lead runs the manager on a store until ctx ends or something fails. leads may
// be nil: nobody else does. resign is called once nothing is decided any more,
// while the last answers still leave.
func (h *house) lead(ctx context.Context, s store.Store, leads func() bool, resign func()) error {
	if err := stores.Usable(ctx, s); err != nil {
		return err
	}
	m, err := manager.New(ctx, manager.Options{
		Store: s, Readings: h.readings, Config: h.cfg, Clock: daemon.Clock{}, Issuer: h.ca,
		Scorer: manager.ModelScorer{Model: h.model}, Log: h.log, Version: version, Leads: leads,
		Ends: func() (own, ca time.Time) { return h.keeper.Own().Leaf.NotAfter, h.ca.NotAfter() },
	})
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return nil // it was told to stop before it had begun
	case err != nil:
		return err
	}
	server := serve.New(serve.Options{
		Agents: m, API: m, Metrics: metrics(true, h.keeper.Own, h.ca, m.Collector()), Health: m.Health, MetricsToken: metricsToken(h.cfg.Metrics.TokenFile),
		Revoked: m.Revoked, TLS: pki.ServerTLS(h.keeper.Own, h.ca.Pool(), m.Revoked, daemon.Clock{}.Now), Now: daemon.Clock{}.Now, Log: h.log, Leads: leads,
	})
	https, socket, err := h.listen()
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // it was told to stop
	case err != nil:
		return err
	}

	// Whoever of the two ends takes the other along; the store is closed last.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 2)
	go func() {
		err := m.Run(ctx)
		resign()
		ended <- err
	}()
	go func() { ended <- server.Run(ctx, https, socket) }()
	id := s.Identity()
	h.log.Info("the manager runs", "version", version, "listen", https.Addr().String(), "socket", h.cfg.Socket(), "store", h.cfg.Store,
		"generation", id.Generation, "term", id.Term, "mode", string(h.cfg.Mode), "model", h.model.Name())
	h.ready()
	first := <-ended
	stop()
	return errors.Join(first, <-ended)
}

// ready tells systemd, once.
func (h *house) ready() {
	h.once.Do(func() {
		if err := daemon.Notify("READY=1"); err != nil {
			h.log.Warn("systemd does not hear us", "error", err)
		}
	})
}

// listen opens the port and the socket.
func (h *house) listen() (https, socket net.Listener, err error) {
	if h.port != nil {
		https, err = again(h.port)
	} else {
		https, err = net.Listen("tcp", h.cfg.Listen)
	}
	if err != nil {
		return nil, nil, err
	}
	if socket, err = listenSocket(h.cfg.Socket()); err != nil {
		https.Close()
		return nil, nil, err
	}
	return https, socket, nil
}

// again is another listener on a port. While none of them accepts, whoever comes
// waits for the next that does.
func again(port *net.TCPListener) (net.Listener, error) {
	f, err := port.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// listenSocket opens root's socket. The store's lock says that no other manager
// runs here: what is in the way is a leftover.
func listenSocket(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	socket, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		socket.Close()
		return nil, err
	}
	return socket, nil
}

// metrics is what /metrics shows: what the program itself is, and more.
func metrics(leading bool, own func() tls.Certificate, ca *pki.CA, more ...prometheus.Collector) http.Handler {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "vireo_build_info", Help: "Always 1; the label tells the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	leads := prometheus.NewGauge(prometheus.GaugeOpts{Name: "vireo_manager_leading", Help: "1 when this manager leads, 0 when it stands by."})
	if leading {
		leads.Set(1)
	}
	until := func(certificate string, end func() time.Time) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vireo_certificate_not_after_timestamp_seconds", Help: "When a certificate of the manager ends.",
			ConstLabels: prometheus.Labels{"certificate": certificate},
		}, func() float64 { return float64(end().Unix()) })
	}
	r := prometheus.NewRegistry()
	r.MustRegister(build, leads, until("manager", func() time.Time { return own().Leaf.NotAfter }), until("ca", ca.NotAfter), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(more...)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// metricsToken reads the bearer token each time; nil without a file for it.
func metricsToken(file string) func() ([]byte, error) {
	if file == "" {
		return nil
	}
	return func() ([]byte, error) { return os.ReadFile(file) }
}

// authority reads the configuration, and the CA with the manager's own certificate
// from where it says.
func authority(c *cli.Context) (cfg configs.Manager, ca *pki.CA, own tls.Certificate, err error) {
	if cfg, err = daemon.Config(c, configs.LoadManager); err != nil {
		return cfg, nil, own, err
	}
	if ca, own, err = pki.Load(cfg.PKIDir); err != nil {
		return cfg, nil, own, notInitialised(err)
	}
	return cfg, ca, own, nil
}

// notInitialised adds what to do about a missing CA.
func notInitialised(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; run: vireo-manager init", err)
	}
	return err
}

// loadModel reads a model file, or takes the one in the program for "".
func loadModel(path string) (*pfa.Model, error) {
	if path == "" {
		return pfa.Default()
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, daemon.Usage("model: %w", err)
	}
	m, err := pfa.Load(b)
	if err != nil {
		return nil, daemon.Usage("model %s: %w", path, err)
	}
	return m, nil
}
