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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/manager/serve"
	"github.com/vireo-kvm/vireo/pfa"
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
	model, err := pfa.Default()
	if err != nil {
		return fmt.Errorf("the model in this program: %w", err)
	}
	db, err := sqlite.Open(ctx, cfg.Database())
	if err != nil {
		return err
	}
	defer db.Close()

	m, err := manager.New(ctx, manager.Options{
		Store: db, Readings: db, Config: cfg, Clock: daemon.Clock{}, Issuer: ca,
		Scorer: manager.ModelScorer{Model: model}, Log: log, Version: version,
	})
	if err != nil {
		return err
	}
	server := serve.New(serve.Options{
		Agents: m, API: m, Metrics: metrics(m, own, ca), Health: m.Health, MetricsToken: metricsToken(cfg.Metrics.TokenFile),
		Revoked: m.Revoked, TLS: pki.ServerTLS(own, ca.Pool(), m.Revoked, daemon.Clock{}.Now), Now: daemon.Clock{}.Now, Log: log,
	})
	https, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return err
	}
	socket, err := listenSocket(cfg.Socket())
	if err != nil {
		https.Close()
		return err
	}

	// Whoever of the two ends takes the other along; the store is closed last.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 2)
	go func() { ended <- m.Run(ctx) }()
	go func() { ended <- server.Run(ctx, https, socket) }()
	id := db.Identity()
	log.Info("the manager runs", "version", version, "listen", https.Addr().String(), "socket", cfg.Socket(),
		"generation", id.Generation, "term", id.Term, "mode", string(cfg.Mode), "model", model.Name())
	if err := daemon.Notify("READY=1"); err != nil {
		log.Warn("systemd does not hear us", "error", err)
	}
	first := <-ended
	stop()
	return errors.Join(first, <-ended)
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

func metrics(m *manager.Manager, own tls.Certificate, ca *pki.CA) http.Handler {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "vireo_build_info", Help: "Always 1; the label tells the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	until := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "vireo_certificate_not_after_timestamp_seconds", Help: "When a certificate of the manager ends.",
	}, []string{"certificate"})
	until.WithLabelValues("manager").Set(float64(own.Leaf.NotAfter.Unix()))
	until.WithLabelValues("ca").Set(float64(ca.NotAfter().Unix()))
	r := prometheus.NewRegistry()
	r.MustRegister(build, until, m.Collector(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// metricsToken reads the bearer token each time; nil without a file for it.
func metricsToken(file string) func() ([]byte, error) {
	if file == "" {
		return nil
	}
	return func() ([]byte, error) { return os.ReadFile(file) }
}

// notInitialised adds what to do about a missing CA.
func notInitialised(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; run: vireo-manager init", err)
	}
	return err
}
