package etcd

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Leader is who last won the election. Whether it still leads, only its lease
// knows.
type Leader struct {
	Address    string // where agents and operators reach it; "" while nobody has ever led
	Generation uint64
	Term       uint64
}

// lookAgain is how long a watch that says nothing is believed.
const lookAgain = 2 * time.Second

// Watch calls told with who leads, now and whenever it changes, until ctx ends.
// An etcd that does not answer changes nothing.
func (c *Client) Watch(ctx context.Context, told func(Leader)) {
	var last Leader
	first := true
	for ctx.Err() == nil {
		actx, cancel := context.WithTimeout(ctx, lookAgain)
		h, revision, err := c.c.readHead(actx)
		cancel()
		if err != nil {
			_ = wait(ctx, again)
			continue
		}
		if now := (Leader{h.Leader, h.Generation, h.Term}); first || now != last {
			first, last = false, now
			told(now)
		}
		c.changed(ctx, revision)
	}
}

// changed returns when head has another leader than at a revision, or may have.
func (c *Client) changed(ctx context.Context, revision int64) {
	ctx, cancel := context.WithTimeout(ctx, lookAgain)
	defer cancel()
	// The leader's key comes and goes with the lead; head changes with every write.
	watch := c.c.etcd.Watch(clientv3.WithRequireLeader(ctx), c.c.key(leaderKeys), clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	for resp := range watch {
		if resp.Err() != nil || len(resp.Events) > 0 {
			// The term is raised a moment after the key is won.
			_ = wait(ctx, pause)
			return
		}
	}
}
