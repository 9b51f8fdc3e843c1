package etcdtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/vireo-kvm/vireo/test/standstill"
)

// Options say what kind of cluster.
type Options struct {
	Nodes   int  // 0: 1
	Durable bool // wait for the disk; for what measures, or looks at what survives
	Quota   int  // bytes of the data base, 0: etcd's default
	// CA, Cert and Key are files: with them clients need a certificate.
	CA, Cert, Key string
}

// Cluster is a running etcd.
type Cluster struct {
	t     testing.TB
	o     Options
	dir   string
	nodes []*Node
}

// shownLog is how many bytes of a node's log are shown when a test fails.
const shownLog = 1000

// Node is one server of a cluster.
type Node struct {
	c            *Cluster
	name         string
	client, peer string // addresses
	mu           sync.Mutex
	cmd          *exec.Cmd
	done         chan struct{}
	log          bytes.Buffer
}

// Start runs a cluster until the test ends, and returns when it answers.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Fatalf("%v: install Debian's package etcd-server", err)
	}
	c := &Cluster{t: t, o: o, dir: t.TempDir()}
	ports := freePorts(t, 2*max(o.Nodes, 1))
	for i := range max(o.Nodes, 1) {
		c.nodes = append(c.nodes, &Node{c: c, name: fmt.Sprintf("n%d", i+1), client: ports[2*i], peer: ports[2*i+1]})
	}
	t.Cleanup(c.stop)
	for _, n := range c.nodes {
		n.Start()
	}
	c.Wait()
	return c
}

// freePorts are addresses that nobody listens on. They are kept open until all are
// known, so that they differ.
func freePorts(t testing.TB, n int) (addresses []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

func (c *Cluster) scheme() string {
	if c.o.CA != "" {
		return "https://"
	}
	return "http://"
}

// Endpoints are the URLs for clients.
func (c *Cluster) Endpoints() (all []string) {
	for _, n := range c.nodes {
		all = append(all, n.Endpoint())
	}
	return all
}

// Nodes are the servers.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Endpoint is the node's URL for clients.
func (n *Node) Endpoint() string { return n.c.scheme() + n.client }

// Address is where the node listens for clients, without a scheme.
func (n *Node) Address() string { return n.client }

// Start runs the node, again after Kill.
func (n *Node) Start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.c
	var members []string
	for _, m := range c.nodes {
		members = append(members, m.name+"=http://"+m.peer)
	}
	args := []string{
		"--name", n.name, "--data-dir", filepath.Join(c.dir, n.name),
		"--listen-client-urls", n.Endpoint(), "--advertise-client-urls", n.Endpoint(),
		"--listen-peer-urls", "http://" + n.peer, "--initial-advertise-peer-urls", "http://" + n.peer,
		"--initial-cluster", strings.Join(members, ","), "--initial-cluster-token", filepath.Base(filepath.Dir(c.dir)) + filepath.Base(c.dir),
		"--log-level", "warn",
	}
	if !c.o.Durable {
		args = append(args, "--unsafe-no-fsync")
	}
	if c.o.Quota > 0 {
		args = append(args, "--quota-backend-bytes", fmt.Sprint(c.o.Quota))
	}
	if c.o.CA != "" {
		args = append(args, "--client-cert-auth", "--trusted-ca-file", c.o.CA, "--cert-file", c.o.Cert, "--key-file", c.o.Key)
	}
	n.log.Reset()
	n.cmd = exec.Command("etcd", args...)
	n.cmd.Stderr, n.cmd.Stdout = &n.log, &n.log
	// It never outlives the test, however the test ends.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		c.t.Fatalf("etcd %s: %v", n.name, err)
	}
	n.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(n.cmd, n.done)
}

// Kill ends the node without a word.
func (n *Node) Kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	<-n.done
	n.cmd = nil
}

// Freeze stops the node: when it returns the node stands still. Thaw lets it go on.
func (n *Node) Freeze() {
	n.c.t.Helper()
	if pid := n.signal(syscall.SIGSTOP); pid != 0 {
		if err := standstill.Await(pid); err != nil {
			n.c.t.Fatal(err)
		}
	}
}

// Thaw lets a frozen node go on.
func (n *Node) Thaw() { n.signal(syscall.SIGCONT) }

// signal returns the pid of the process that it was sent to, 0 if the node does not run.
func (n *Node) signal(s syscall.Signal) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	_ = n.cmd.Process.Signal(s)
	return n.cmd.Process.Pid
}

// Wipe kills the node and starts it with nothing: another cluster, to whoever
// knows this one.
func (n *Node) Wipe() {
	n.Kill()
	if err := os.RemoveAll(filepath.Join(n.c.dir, n.name)); err != nil {
		n.c.t.Fatal(err)
	}
}

func (c *Cluster) stop() {
	for _, n := range c.nodes {
		n.Kill()
		if text := n.log.Bytes(); c.t.Failed() {
			c.t.Logf("etcd %s ended its log with:\n%s", n.name, text[max(0, len(text)-shownLog):])
		}
	}
}

// Wait returns when a majority answers.
func (c *Cluster) Wait() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if c.o.CA != "" { // its clients say whether it answers
		for _, n := range c.nodes {
			for {
				conn, err := net.Dial("tcp", n.client)
				if err == nil {
					conn.Close()
					break
				}
				if ctx.Err() != nil {
					c.t.Fatalf("etcd %s does not listen", n.name)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		return
	}
	e := c.Client()
	defer e.Close()
	for {
		actx, acancel := context.WithTimeout(ctx, time.Second)
		_, err := e.Get(actx, "is anybody there")
		acancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			c.t.Fatalf("etcd does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Client is a plain client of the cluster, to look at what is there.
func (c *Cluster) Client() *clientv3.Client {
	c.t.Helper()
	e, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}
