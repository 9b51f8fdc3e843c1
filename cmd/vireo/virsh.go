package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

// virshCommands are those that look at one domain; list looks at a host.
var virshCommands = []string{"dominfo", "domjobinfo", "domstate", "dumpxml"}

func (p *program) virshCommand() *cli.Command {
	return &cli.Command{
		Name:      "virsh",
		Usage:     "run a read-only virsh command where the guest is, and print what it prints there",
		ArgsUsage: "list|dominfo|domstate|domjobinfo|dumpxml [OPTIONS] [DOMAIN] [--host HOST]",
		Description: "DOMAIN is a name or UUID; the manager knows where it is. list shows every host, or with --host one.\n" +
			"Options of virsh are passed on. A name that begins with - is written behind --.",
		SkipFlagParsing: true, // they are virsh's, but for --host
		Action:          p.virsh,
	}
}

// virshRequest takes --host and the domain out of what virsh is to get.
func virshRequest(args []string) (*managerv1.VirshRequest, error) {
	req := &managerv1.VirshRequest{}
	var rest []string
	for i := 0; i < len(args); i++ {
		value, isHost := strings.CutPrefix(args[i], "--host=")
		switch {
		case args[i] == "--":
			rest = append(rest, args[i:]...)
			i = len(args)
		case isHost:
			req.Host = value
		case args[i] == "--host":
			if i++; i == len(args) {
				return nil, usagef("vireo virsh: --host expects the name of a host")
			}
			req.Host = args[i]
		default:
			rest = append(rest, args[i])
		}
	}
	if len(rest) == 0 || strings.HasPrefix(rest[0], "-") {
		return nil, usagef("vireo virsh: expected a command such as list, %s", strings.Join(virshCommands, ", "))
	}
	req.Args = rest[:1:1]
	for i, arg := range rest[1:] {
		switch {
		case arg == "--":
			if more := rest[i+2:]; len(more) == 1 && req.Domain == "" {
				req.Domain = more[0]
				return req, nil
			}
			return nil, usagef("vireo virsh: expected one domain behind --")
		case strings.HasPrefix(arg, "-") || rest[0] == "list":
			req.Args = append(req.Args, arg)
		case req.Domain != "":
			return nil, usagef("vireo virsh %s: expected one domain, got %q and %q", rest[0], req.Domain, arg)
		default:
			req.Domain = arg
		}
	}
	if slices.Contains(virshCommands, rest[0]) && req.Domain == "" {
		return nil, usagef("vireo virsh %s: expected a domain, by name or UUID", rest[0])
	}
	return req, nil
}

func (p *program) virsh(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) == 0 || slices.Contains([]string{"-h", "--help", "help"}, args[0]) {
		return cli.ShowSubcommandHelp(c)
	}
	req, err := virshRequest(args)
	if err != nil {
		return err
	}
	res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.Virsh, req)
	if err != nil {
		return err
	}
	blocks := req.Domain == "" && req.Host == "" // one per host, headed by its name
	code := 0
	for _, o := range res.Outputs {
		if blocks {
			p.printf("%s:\n", cell{o.Host, bold})
		}
		// Bytes, as virsh printed them.
		if _, err := p.out.Write(o.Stdout); err != nil {
			return err
		}
		if _, err := p.err.Write(o.Stderr); err != nil {
			return err
		}
		if o.Error != "" {
			p.notef("vireo: virsh on %s: %s\n", o.Host, o.Error)
			code = max(code, apierr.ExitFailed)
			if o.Refused {
				code = apierr.ExitRefused
			}
		}
		code = max(code, int(o.ExitCode))
	}
	if code != 0 {
		return exitError{code: code}
	}
	return nil
}
