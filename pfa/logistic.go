package pfa

import (
	"errors"
	"math"
)

// rows is a sparse weighted design matrix with labels.
type rows struct {
	width  int
	start  []int64 // row i is entries start[i] to start[i+1]
	index  []int32
	value  []float32
	weight []float32
	label  []bool
	group  []int32 // the drive the row belongs to
}

func newRows(width int) *rows { return &rows{width: width, start: []int64{0}} }

func (r *rows) len() int { return len(r.weight) }

func (r *rows) add(v *vector, weight float64, label bool, group int) {
	r.index = append(r.index, v.index...)
	for _, x := range v.value {
		r.value = append(r.value, float32(x))
	}
	r.start = append(r.start, int64(len(r.index)))
	r.weight = append(r.weight, float32(weight))
	r.label = append(r.label, label)
	r.group = append(r.group, int32(group))
}

// dot returns intercept + row·w, where w's last entry is the intercept.
func (r *rows) dot(i int, w []float64) float64 {
	s := w[r.width]
	for k := r.start[i]; k < r.start[i+1]; k++ {
		s += float64(r.value[k]) * w[r.index[k]]
	}
	return s
}

// chunks is the fixed number of parts a sum over rows is split into: the order
// of additions, and so every bit of the result, does not depend on how many
// processors add.
const chunks = 32

// inChunks runs f for each chunk of n things, on all processors.
func inChunks(n int, f func(chunk, from, to int)) { inParts(n, chunks, f) }

// symmetric is the lower triangle of a symmetric matrix, row by row.
type symmetric struct {
	n int
	a []float64
}

func newSymmetric(n int) *symmetric { return &symmetric{n: n, a: make([]float64, n*(n+1)/2)} }

func (s *symmetric) at(i, j int) *float64 {
	if i < j {
		i, j = j, i
	}
	return &s.a[i*(i+1)/2+j]
}

// fitLogistic fits weights (the last is the intercept) that maximise the
// weighted log-likelihood minus half the penalty-weighted sum of squares, by
// Newton's method with step halving. penalty has an entry for every weight.
func fitLogistic(r *rows, penalty []float64) (w []float64, err error) {
	n := r.width + 1
	w = make([]float64, n)
	pos, all := 0.0, 0.0
	for i, label := range r.label {
		all += float64(r.weight[i])
		if label {
			pos += float64(r.weight[i])
		}
	}
	if pos == 0 || pos == all {
		return nil, errors.New("nothing to learn: all rows have the same label")
	}
	w[r.width] = math.Log(pos / (all - pos))
	loss := penalisedLoss(r, w, penalty)
	for range 60 {
		grad, hess := derivatives(r, w, penalty)
		if err := hess.cholesky(); err != nil {
			return nil, err
		}
		step := hess.solve(grad)
		size, next := 1.0, make([]float64, n)
		var nextLoss float64
		for ; ; size /= 2 {
			for j := range w {
				next[j] = w[j] - size*step[j]
			}
			nextLoss = penalisedLoss(r, next, penalty)
			if nextLoss <= loss || size < 1e-6 {
				break
			}
		}
		gain := loss - nextLoss
		if gain > 0 {
			w, loss = next, nextLoss
		}
		if gain < 1e-7*(1+math.Abs(loss)) {
			return w, nil
		}
	}
	return nil, errors.New("the fit did not converge in 60 steps")
}

func penalisedLoss(r *rows, w, penalty []float64) float64 {
	var part [chunks]float64
	inChunks(r.len(), func(c, from, to int) {
		s := 0.0
		for i := from; i < to; i++ {
			z := r.dot(i, w)
			if r.label[i] {
				z = -z
			}
			s += float64(r.weight[i]) * softplus(z)
		}
		part[c] = s
	})
	loss := 0.0
	for _, s := range part {
		loss += s
	}
	for j, x := range w {
		loss += penalty[j] * x * x / 2
	}
	return loss
}

func derivatives(r *rows, w, penalty []float64) (grad []float64, hess *symmetric) {
	n := r.width + 1
	grads := make([][]float64, chunks)
	hesses := make([]*symmetric, chunks)
	inChunks(r.len(), func(c, from, to int) {
		g, h := make([]float64, n), newSymmetric(n)
		for i := from; i < to; i++ {
			p := sigmoid(r.dot(i, w))
			wt := float64(r.weight[i])
			d := wt * p
			if r.label[i] {
				d -= wt
			}
			curve := wt * p * (1 - p)
			last := h.a[r.width*n/2:]
			for k := r.start[i]; k < r.start[i+1]; k++ {
				j, x := int(r.index[k]), float64(r.value[k])
				g[j] += d * x
				cx := curve * x
				for l := r.start[i]; l <= k; l++ {
					*h.at(j, int(r.index[l])) += cx * float64(r.value[l])
				}
				last[j] += cx
			}
			g[r.width] += d
			last[r.width] += curve
		}
		grads[c], hesses[c] = g, h
	})
	grad, hess = grads[0], hesses[0]
	for c := 1; c < chunks; c++ {
		for j, x := range grads[c] {
			grad[j] += x
		}
		for j, x := range hesses[c].a {
			hess.a[j] += x
		}
	}
	for j, x := range w {
		grad[j] += penalty[j] * x
		*hess.at(j, j) += penalty[j]
	}
	return grad, hess
}

// cholesky replaces s by its lower Cholesky factor.
func (s *symmetric) cholesky() error {
	for i := range s.n {
		ri := s.a[i*(i+1)/2:]
		for j := 0; j <= i; j++ {
			rj := s.a[j*(j+1)/2:]
			x := ri[j]
			for k := range j {
				x -= ri[k] * rj[k]
			}
			if i != j {
				ri[j] = x / rj[j]
				continue
			}
			if x <= 0 || math.IsNaN(x) {
				return errors.New("the curvature is not positive: a column has no penalty and no data")
			}
			ri[i] = math.Sqrt(x)
		}
	}
	return nil
}

// solve returns x with L·Lᵀ·x = b, for a factor L.
func (s *symmetric) solve(b []float64) []float64 {
	x := make([]float64, s.n)
	copy(x, b)
	for i := range s.n {
		ri := s.a[i*(i+1)/2:]
		for k := range i {
			x[i] -= ri[k] * x[k]
		}
		x[i] /= ri[i]
	}
	for i := s.n - 1; i >= 0; i-- {
		for k := i + 1; k < s.n; k++ {
			x[i] -= s.a[k*(k+1)/2+i] * x[k]
		}
		x[i] /= s.a[i*(i+1)/2+i]
	}
	return x
}

func sigmoid(z float64) float64 {
	if z >= 0 {
		return 1 / (1 + math.Exp(-z))
	}
	e := math.Exp(z)
	return e / (1 + e)
}

func logit(p float64) float64 { return math.Log(p / (1 - p)) }

// softplus is log(1+e^z) without overflow.
func softplus(z float64) float64 {
	if z > 0 {
		return z + math.Log1p(math.Exp(-z))
	}
	return math.Log1p(math.Exp(z))
}
