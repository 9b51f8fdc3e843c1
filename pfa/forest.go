package pfa

// forest is an ensemble of regression trees whose leaves sum, with a base, to a
// logit.
type forest struct {
	base  float64
	trees []tree
}

// tree is one binary tree; node 0 is its root.
type tree []node

// node is a split or a leaf. A missing value (NaN) goes where missingLeft says.
type node struct {
	feature     int32 // -1: a leaf
	left, right int32
	missingLeft bool
	cut         float64 // values below go left
	value       float64 // of a leaf; of a split, what its leaf would have been
	cover       float64 // weighted training rows that came here
}

func (t tree) leaf(x []float64) *node {
	n := &t[0]
	for n.feature >= 0 {
		v := x[n.feature]
		if v < n.cut || v != v && n.missingLeft {
			n = &t[n.left]
		} else {
			n = &t[n.right]
		}
	}
	return n
}

func (f *forest) score(x []float64) float64 {
	s := f.base
	for _, t := range f.trees {
		s += t.leaf(x).value
	}
	return s
}

// expected is the mean of a tree over its training rows.
func (t tree) expected() float64 {
	var sum float64
	for i := range t {
		if t[i].feature < 0 {
			sum += t[i].value * t[i].cover
		}
	}
	return sum / t[0].cover
}

// expected is the mean of the forest over its training rows.
func (f *forest) expected() float64 {
	sum := f.base
	for _, t := range f.trees {
		sum += t.expected()
	}
	return sum
}

// maxDepth bounds the trees: what explains them keeps a path on the stack.
const maxDepth = 8

// pathStep is one feature on the way to a leaf: the share of training rows that
// would take the way if the feature were unknown, whether this row takes it,
// and the weight of subsets of that size.
type pathStep struct {
	feature   int32
	zero, one float64
	weight    float64
}

// explain adds to phi, by feature, the exact Shapley values of a tree's output
// for x: with the tree's expectation they sum to its output (the algorithm is
// TreeSHAP, path dependent).
func (t tree) explain(x, phi []float64) {
	var path [maxDepth + 2]pathStep
	t.descend(0, x, phi, path, 0, 1, 1, -1)
}

func (t tree) descend(at int32, x, phi []float64, path [maxDepth + 2]pathStep, length int, zero, one float64, feature int32) {
	// Extend the path by the step that led here.
	path[length] = pathStep{feature: feature, zero: zero, one: one, weight: indicator(length == 0)}
	for i := length - 1; i >= 0; i-- {
		path[i+1].weight += one * path[i].weight * float64(i+1) / float64(length+1)
		path[i].weight = zero * path[i].weight * float64(length-i) / float64(length+1)
	}
	length++
	n := &t[at]
	if n.feature < 0 {
		for i := 1; i < length; i++ {
			phi[path[i].feature] += unwound(&path, length, i) * (path[i].one - path[i].zero) * n.value
		}
		return
	}
	hot, cold := n.right, n.left
	if v := x[n.feature]; v < n.cut || v != v && n.missingLeft {
		hot, cold = n.left, n.right
	}
	zero, one = 1, 1
	for i := 1; i < length; i++ {
		if path[i].feature == n.feature { // seen before on this way: take it out
			zero, one = path[i].zero, path[i].one
			unwind(&path, length, i)
			length--
			break
		}
	}
	t.descend(hot, x, phi, path, length, zero*t[hot].cover/n.cover, one, n.feature)
	t.descend(cold, x, phi, path, length, zero*t[cold].cover/n.cover, 0, n.feature)
}

// unwind removes step i from a path.
func unwind(path *[maxDepth + 2]pathStep, length, i int) {
	next := path[length-1].weight
	zero, one := path[i].zero, path[i].one
	for j := length - 2; j >= 0; j-- {
		if one != 0 {
			w := path[j].weight
			path[j].weight = next * float64(length) / (float64(j+1) * one)
			next = w - path[j].weight*zero*float64(length-1-j)/float64(length)
		} else {
			path[j].weight = path[j].weight * float64(length) / (zero * float64(length-1-j))
		}
	}
	for j := i; j < length-1; j++ {
		path[j].feature, path[j].zero, path[j].one = path[j+1].feature, path[j+1].zero, path[j+1].one
	}
}

// unwound is the sum of the weights of a path without step i.
func unwound(path *[maxDepth + 2]pathStep, length, i int) float64 {
	next := path[length-1].weight
	zero, one := path[i].zero, path[i].one
	sum := 0.0
	for j := length - 2; j >= 0; j-- {
		if one != 0 {
			w := next * float64(length) / (float64(j+1) * one)
			sum += w
			next = path[j].weight - w*zero*float64(length-1-j)/float64(length)
		} else {
			sum += path[j].weight * float64(length) / (zero * float64(length-1-j))
		}
	}
	return sum
}
