// Package leak finds what would make a model look better in its evaluation than
// it will be in service: a split that lets the answer through, a feature that is
// no measurement, a table whose order or dates tell the outcome.
//
// It looks at a Table, the plan of a training: which rows are learnt from, which
// are judged on, and what is known of each. Each rule has a name; what breaks
// one is said with the rows or columns that do.
package leak
