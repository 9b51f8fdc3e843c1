package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

// managerSocket is where root on the manager's machine reaches it without a
// certificate.
const managerSocket = "/run/vireo-manager/manager.sock"

// configured makes the client that configuration and environment ask for, and
// says where it connects to and why there.
func (p *program) configured() (managerv1connect.ManagerServiceClient, string, error) {
	cfg, where, err := p.configuration()
	if err != nil {
		return nil, "", exitError{apierr.ExitInput, err.Error()}
	}
	if text := p.ownCertificate(cfg); text != "" {
		fmt.Fprintln(p.err, "vireo: "+text)
	}
	client, err := newClient(cfg)
	if err == nil {
		return client, where, nil
	}
	if errors.Is(err, errNobodyLeads) {
		return nil, "", exitError{apierr.ExitUnreachable, fmt.Sprintf("cannot reach a manager that leads at %s: %v\n%s", where, err, howToSet)}
	}
	// Without keys nothing can be asked; but where nobody listens, keys are not
	// the first thing to look for.
	if dialErr := tryDial(cfg); dialErr != nil {
		return nil, "", exitError{apierr.ExitUnreachable, fmt.Sprintf("cannot reach the manager at %s: %v\n%s\nBesides, %v.", where, dialErr, howToSet, err)}
	}
	return nil, "", exitError{apierr.ExitInput, fmt.Sprintf("the manager at %s wants to know who asks: %v\n"+
		"Set ca, cert and key in cli.toml; vireo-manager init makes them, and root on the manager's machine needs none.", where, err)}
}

// howToSet is what to do about a manager that is somewhere else.
const howToSet = "Set VIREO_MANAGER=https://HOST:7443, or manager in cli.toml (VIREO_CONFIG, ~/.config/vireo/cli.toml, " + configs.CLIPath + ")."

// tryDial says whether anybody listens where the manager should be.
func tryDial(cfg configs.CLI) error {
	u, err := url.Parse(cfg.Manager[0])
	if err != nil {
		return err
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	conn, err := net.DialTimeout("tcp", address, time.Duration(cfg.Timeout))
	if err != nil {
		return err
	}
	return conn.Close()
}

// configuration is cli.toml with the environment over it, and where the
// manager's address comes from.
func (p *program) configuration() (cfg configs.CLI, where string, err error) {
	cfg, file, err := p.readConfiguration()
	if err != nil {
		return cfg, "", err
	}
	source := "the default"
	if file != "" {
		source = file
	}
	switch manager := p.getenv("VIREO_MANAGER"); {
	case manager != "":
		cfg.Manager, source = strings.Split(manager, ","), "VIREO_MANAGER"
	case p.root && slices.Equal(cfg.Manager, configs.DefaultCLI().Manager) && isSocket(p.socket):
		cfg.Manager, source = configs.URLs{"unix://" + p.socket}, "the manager's socket on this machine"
	}
	if err := cfg.Validate(); err != nil {
		return cfg, "", fmt.Errorf("%s: %w", source, err)
	}
	return cfg, fmt.Sprintf("%s (from %s)", cfg.Manager, source), nil
}

func (p *program) readConfiguration() (cfg configs.CLI, file string, err error) {
	if file = p.getenv("VIREO_CONFIG"); file != "" {
		cfg, err = configs.LoadCLI(file)
		if err != nil {
			err = fmt.Errorf("VIREO_CONFIG: %w", err)
		}
		return cfg, file, err
	}
	files := []string{configs.CLIPath}
	if home := p.getenv("XDG_CONFIG_HOME"); home != "" {
		files = append([]string{filepath.Join(home, configs.CLIUserPath)}, files...)
	} else if home := p.getenv("HOME"); home != "" {
		files = append([]string{filepath.Join(home, ".config", configs.CLIUserPath)}, files...)
	}
	for _, file := range files {
		cfg, err = configs.LoadCLI(file)
		if !errors.Is(err, fs.ErrNotExist) {
			return cfg, file, err
		}
	}
	return configs.DefaultCLI(), "", nil
}

func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

// newClient speaks with the manager, of several with the one that leads.
func newClient(cfg configs.CLI) (managerv1connect.ManagerServiceClient, error) {
	if len(cfg.Manager) == 1 {
		return clientOf(cfg, cfg.Manager[0])
	}
	return leading(cfg)
}

func clientOf(cfg configs.CLI, manager string) (managerv1connect.ManagerServiceClient, error) {
	u, err := url.Parse(manager)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: time.Duration(cfg.Timeout)}
	transport := &http.Transport{DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: time.Duration(cfg.Timeout)}
	base := strings.TrimSuffix(manager, "/")
	if u.Scheme == "unix" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", u.Path)
		}
		base = "http://manager"
	} else if transport.TLSClientConfig, err = clientTLS(cfg); err != nil {
		return nil, err
	}
	return managerv1connect.NewManagerServiceClient(&http.Client{Transport: transport}, base,
		connect.WithInterceptors(patience(cfg.Timeout))), nil
}

func clientTLS(cfg configs.CLI) (*tls.Config, error) {
	ca, err := os.ReadFile(cfg.CA)
	if err != nil {
		return nil, fmt.Errorf("the CA's certificate (ca in cli.toml): %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("the CA's certificate (ca in cli.toml): %s holds no certificate", cfg.CA)
	}
	own, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("your certificate and key (cert and key in cli.toml): %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{own}}, nil
}

// patience is how long a plain request may take; streams take as long as they
// like.
type patience time.Duration

func (d patience) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(d), fmt.Errorf("no answer within %s", time.Duration(d)))
		defer cancel()
		res, err := next(ctx, req)
		if err != nil && connect.CodeOf(err) == connect.CodeDeadlineExceeded && ctx.Err() != nil {
			err = connect.NewError(connect.CodeUnavailable, context.Cause(ctx))
		}
		return res, err
	}
}

func (d patience) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (d patience) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// call makes one plain request.
func call[Req, Res any](ctx context.Context, p *program,
	method func(managerv1connect.ManagerServiceClient, context.Context, *connect.Request[Req]) (*connect.Response[Res], error), req *Req,
) (*Res, error) {
	client, err := p.manager()
	if err != nil {
		return nil, err
	}
	res, err := method(client, ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// unanswered is what to say of an error that the manager did not give: where it
// was looked for, and how to say otherwise.
func (p *program) unanswered(err error) (int, string) {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return apierr.ExitFailed, err.Error()
	}
	switch ce.Code() {
	case connect.CodePermissionDenied, connect.CodeUnauthenticated:
		return apierr.ExitRefused, fmt.Sprintf("the manager at %s refused: %s", p.where, ce.Message())
	case connect.CodeUnavailable:
		return apierr.ExitUnreachable, fmt.Sprintf("cannot reach the manager at %s: %s\n%s", p.where, cause(ce), howToSet)
	}
	return apierr.ExitCode(err), fmt.Sprintf("the manager at %s: %s", p.where, ce.Message())
}

// cause is the transport's error without the request's URL around it, which
// only repeats where the manager is.
func cause(err *connect.Error) string {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err.Error()
	}
	return err.Message()
}
