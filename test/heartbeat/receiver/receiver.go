package receiver

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/heartbeat"
)

// errNotABeat is returned for a packet that carries no heartbeat.
var errNotABeat = errors.New("not a heartbeat")

// Receiver takes beats from every port of the switch it runs on and serves what
// they say on a Unix socket.
type Receiver struct {
	mu      sync.Mutex
	tracker *heartbeat.Tracker
	fd      int            // the packet socket
	sink    *net.UDPConn   // owns the port, so that the kernel refuses no beat; never read
	ports   map[int]string // interface index → name; only touched by receive
	self    string         // the switch's own interface, where beats show up a second time
}

// New opens the sockets in the caller's network namespace. self is the
// bridge itself, whose copies of the beats are not looked at: a beat is counted
// where it enters the switch, and the name of that port is its host.
func New(self string) (*Receiver, error) {
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{Port: heartbeat.Port})
	if err != nil {
		return nil, fmt.Errorf("port for heartbeats: %w", err)
	}
	fd, err := packetSocket()
	if err != nil {
		sink.Close()
		return nil, fmt.Errorf("packet socket for heartbeats: %w", err)
	}
	return &Receiver{tracker: heartbeat.NewTracker(), fd: fd, sink: sink, ports: map[int]string{}, self: self}, nil
}

// packetSocket returns a packet socket that yields the IPv4 packets of UDP to
// [heartbeat.Port] that come in by any interface, with their kernel time stamps.
func packetSocket() (int, error) {
	// Protocol 0 receives nothing until bind, when the filter is in place.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	const protocol = 0xfffff000 // SKF_AD_OFF + SKF_AD_PROTOCOL
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: protocol},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IP, Jf: 7},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9}, // IP protocol
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 5},
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0}, // X = header length
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},  // UDP destination port
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: heartbeat.Port, Jf: 2},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		drop,
		drop,
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	steps := []error{
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
	}
	if err := errors.Join(steps...); err != nil {
		unix.Close(fd)
		return -1, err
	}
	all := uint16(unix.ETH_P_ALL)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Run receives beats and answers on the listener until ctx is done, and closes both.
//
//	GET /guests   → a JSON array of [heartbeat.Guest]
//	GET /follow   → one such array per line and second
//	POST /forget  → forgets everything seen so far
func (r *Receiver) Run(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /guests", func(w http.ResponseWriter, _ *http.Request) { r.write(w) })
	mux.HandleFunc("GET /follow", r.follow)
	mux.HandleFunc("POST /forget", func(http.ResponseWriter, *http.Request) {
		r.mu.Lock()
		r.tracker = heartbeat.NewTracker()
		r.mu.Unlock()
	})
	server := &http.Server{Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx }, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(l) }()
	go func() { failed <- r.receive(ctx) }()
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-failed:
	}
	return errors.Join(err, server.Close(), r.sink.Close())
}

// write answers with what is known now.
func (r *Receiver) write(w http.ResponseWriter) {
	r.mu.Lock()
	guests := r.tracker.Snapshot(time.Now())
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	// A client that went away is no error of ours.
	_ = json.NewEncoder(w).Encode(guests)
}

func (r *Receiver) follow(w http.ResponseWriter, req *http.Request) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		r.write(w)
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-req.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// receive reads beats until ctx is done.
func (r *Receiver) receive(ctx context.Context) error {
	defer unix.Close(r.fd)
	// A deadline on the read lets the loop notice that it is over.
	if err := unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}); err != nil {
		return fmt.Errorf("deadline of the heartbeat socket: %w", err)
	}
	buf, oob := make([]byte, 2048), make([]byte, 128)
	for ctx.Err() == nil {
		n, oobn, _, from, err := unix.Recvmsg(r.fd, buf, oob, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue // ENETDOWN: one of the ports went down; the others go on
		case err != nil:
			return fmt.Errorf("receive heartbeats: %w", err)
		}
		beat, err := decodePacket(buf[:n])
		if err != nil {
			continue
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		host := r.port(link.Ifindex)
		if host == "" || host == r.self {
			continue
		}
		at := kernelTime(oob[:oobn])
		r.mu.Lock()
		r.tracker.Observe(beat, host, at)
		r.mu.Unlock()
	}
	return nil
}

// port returns the name of the switch port with an interface index; "" if it has gone.
func (r *Receiver) port(index int) string {
	if name, ok := r.ports[index]; ok {
		return name
	}
	i, err := net.InterfaceByIndex(index)
	if err != nil {
		return ""
	}
	r.ports[index] = i.Name
	return i.Name
}

// decodePacket takes the beat out of an IPv4 packet that the filter let through.
func decodePacket(p []byte) (heartbeat.Beat, error) {
	if len(p) < 20 {
		return heartbeat.Beat{}, errNotABeat
	}
	header, total := int(p[0]&0xf)*4, int(binary.BigEndian.Uint16(p[2:]))
	if total > len(p) || header+8 > total {
		return heartbeat.Beat{}, errNotABeat
	}
	return heartbeat.Decode(p[header+8 : total])
}

// kernelTime returns when the kernel received the packet, or now if it did not say.
func kernelTime(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err == nil {
		for _, m := range msgs {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
				ts := *(*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
				return time.Unix(ts.Unix()).UTC()
			}
		}
	}
	return time.Now().UTC()
}
