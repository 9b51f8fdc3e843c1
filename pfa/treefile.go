package pfa

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const (
	maxTrees  = 5000
	maxNodes  = 1<<(maxDepth+1) - 1
	nodeBytes = 4 + 4 + 4 + 1 + 3*8
)

// appendTree writes a tree: its number of nodes, then for each the feature (-1:
// a leaf), the left and right child, where missing values go (1: left), the
// cut, the value and the cover.
func appendTree(out []byte, t tree) []byte {
	le := binary.LittleEndian
	out = le.AppendUint32(out, uint32(len(t)))
	for i := range t {
		n := &t[i]
		out = le.AppendUint32(out, uint32(n.feature))
		out = le.AppendUint32(out, uint32(n.left))
		out = le.AppendUint32(out, uint32(n.right))
		out = append(out, bit(n.missingLeft))
		for _, x := range [...]float64{n.cut, n.value, n.cover} {
			out = le.AppendUint64(out, math.Float64bits(x))
		}
	}
	return out
}

var errTree = errors.New("is damaged")

// readTree reads one tree and returns what follows it. What it accepts is a
// tree: every node but the root has one parent, which comes before it, no way
// down is longer than maxDepth, and covers add up.
func readTree(b []byte, features int) (tree, []byte, error) {
	le := binary.LittleEndian
	if len(b) < 4 {
		return nil, nil, errTree
	}
	count := le.Uint32(b)
	b = b[4:]
	if count < 1 || count > maxNodes || len(b) < int(count)*nodeBytes {
		return nil, nil, errTree
	}
	t := make(tree, count)
	for i := range t {
		n := &t[i]
		n.feature, n.left, n.right = int32(le.Uint32(b)), int32(le.Uint32(b[4:])), int32(le.Uint32(b[8:]))
		if b[12] > 1 {
			return nil, nil, errTree
		}
		n.missingLeft = b[12] == 1
		for k, x := range [...]*float64{&n.cut, &n.value, &n.cover} {
			*x = math.Float64frombits(le.Uint64(b[13+8*k:]))
		}
		b = b[nodeBytes:]
		if !(math.Abs(n.cut) <= math.MaxFloat32) || !(math.Abs(n.value) <= maxWeight) || !(n.cover > 0 && n.cover <= math.MaxFloat32) {
			return nil, nil, errTree
		}
	}
	if err := t.check(features); err != nil {
		return nil, nil, err
	}
	return t, b, nil
}

func (t tree) check(features int) error {
	depth := make([]int, len(t)) // 0: no parent seen yet
	depth[0] = 1
	for i := range t {
		n := &t[i]
		if depth[i] == 0 || depth[i] > maxDepth+1 {
			return errTree
		}
		if n.feature < 0 {
			if n.feature != -1 || n.left != 0 || n.right != 0 {
				return errTree
			}
			continue
		}
		if int(n.feature) >= features {
			return errTree
		}
		for _, c := range [...]int32{n.left, n.right} {
			if int(c) <= i || int(c) >= len(t) || depth[c] != 0 {
				return errTree
			}
			depth[c] = depth[i] + 1
		}
		if sum := t[n.left].cover + t[n.right].cover; math.Abs(sum-n.cover) > 1e-6*n.cover {
			return errTree
		}
	}
	return nil
}

// readForest reads so many trees on so many features, which are all of b.
func readForest(b []byte, trees int, base float64, features int) (*forest, error) {
	f := &forest{base: base}
	for i := range trees {
		t, rest, err := readTree(b, features)
		if err != nil {
			return nil, fmt.Errorf("tree %d: %w", i+1, err)
		}
		f.trees, b = append(f.trees, t), rest
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%d bytes after the last tree", len(b))
	}
	return f, nil
}
