package etcd

import (
	"fmt"
	"net/url"
	"strings"
)

// The keys, below the store's prefix. Names in them are escaped, so that no name
// reaches into another's key.
const (
	headKey     = "head"
	leaderKeys  = "leader" // of client/v3/concurrency
	hostKeys    = "host/"
	claimKeys   = "claim/"
	rowKeys     = "migration/"
	owedKeys    = "owed/"
	decisionKey = "decision/"
	evidenceKey = "evidence/" // read when it is asked for, not kept in memory
	eventKeys   = "event/"
	settingKeys = "setting/"
	tokenKeys   = "token/"
	domainKeys  = "domain/"
	stagedKeys  = "staged/" // of an update that takes more than one transaction
)

// key joins names below one of the prefixes.
func key(prefix string, names ...string) string {
	escaped := make([]string, len(names))
	for i, n := range names {
		escaped[i] = url.PathEscape(n)
	}
	return prefix + strings.Join(escaped, "/")
}

// eventID sorts as the id does.
func eventID(id uint64) string { return fmt.Sprintf("%s%020d", eventKeys, id) }

func evidencePart(id string, part int) string {
	return key(evidenceKey, id) + fmt.Sprintf("/%04d", part)
}

// kept says whether a key's value is part of the copy in memory.
func kept(k string) bool {
	return k != headKey && !strings.HasPrefix(k, evidenceKey) && !strings.HasPrefix(k, stagedKeys) && !strings.HasPrefix(k, leaderKeys)
}
