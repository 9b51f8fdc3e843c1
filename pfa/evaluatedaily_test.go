package pfa

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// dailyTable50 is 50 days of ten drives, in the columns that label gives: B0 has
// pending sectors from day 30 on and fails on day 45, B1 is gone after day 10, the
// others live.
func dailyTable50(columns string, label func(drive string, day int) string) string {
	var b strings.Builder
	b.WriteString("date,serial_number,model,smart_5_raw,smart_9_raw,smart_197_raw," + columns + "\n")
	for day := range 50 {
		for n := range 10 {
			drive, pending := fmt.Sprintf("B%d", n), 0
			switch {
			case n == 0 && day > 45, n == 1 && day > 10:
				continue
			case n == 0 && day >= 30:
				pending = 24
			}
			fmt.Fprintf(&b, "%s,%s,ST4000DM000,0,%d,%d,%s\n", time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC).Format(time.DateOnly),
				drive, 20000+24*day, pending, label(drive, day))
		}
	}
	return b.String()
}

func TestEvaluateDaily(t *testing.T) {
	lasting := func(drive string, day int) string { return "0" }
	failing := func(drive string, day int) string {
		if drive == "B0" && day == 45 {
			return "1"
		}
		return "0"
	}
	ahead := func(drive string, day int) string {
		if drive == "B0" {
			return fmt.Sprint(45 - day)
		}
		return ""
	}
	for _, tc := range []struct {
		name, table                            string
		drives, failures, landmarks, positives int
		until                                  string
	}{
		// Of 50 days the first 20 have their next 30: B1 is never known for so long,
		// and B0 fails within 30 days of those from day 15 on.
		{"by the last day", dailyTable50("failure", failing), 9, 1, 9 * 20, 5, "2026-01-21"},
		// The table's own word holds for every row.
		{"by days to failure", dailyTable50("days_to_failure", ahead), 10, 1, 8*50 + 11 + 46, 31, "2026-02-20"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := defaultModel(t).EvaluateDaily(t.Context(), "t.csv", strings.NewReader(tc.table), nil)
			if err != nil {
				t.Fatal(err)
			}
			if m.Drives != tc.drives || m.Failures != tc.failures || m.Landmarks != tc.landmarks || m.Positives != tc.positives ||
				m.From != "2026-01-01" || m.Until != tc.until || m.Model != defaultModel(t).Name() {
				t.Errorf("%d drives, %d failing, %d rows, %d before a failure, %s to %s, by %q; want %+v",
					m.Drives, m.Failures, m.Landmarks, m.Positives, m.From, m.Until, m.Model, tc)
			}
			// Its pending sectors are seen 15 days ahead, also where those rows are too late to count.
			if m.RecallDay != 1 || m.RecallWeek != 1 {
				t.Errorf("flagged %.0f %% a day ahead, %.0f %% a week", 100*m.RecallDay, 100*m.RecallWeek)
			}
			if n := len(m.Slices); n != 2 || m.Slices[1].Of != "family ST4000DM000" || m.Slices[1].Failures != 1 {
				t.Errorf("parts: %+v", m.Slices)
			}
		})
	}
	rows := func(table string, n int) string { return strings.Join(strings.SplitAfter(table, "\n")[:n], "") }
	for want, table := range map[string]string{
		`neither column "days_to_failure" nor "failure"`:                dailyTable50("other", lasting),
		"of 176 rows whose next 30 days are known 0 lie":                dailyTable50("failure", lasting),
		"of 0 rows whose next 30 days are known":                        rows(dailyTable50("failure", failing), 21),
		`line 2: failure is "", expected 0 or 1`:                        dailyTable50("failure", func(string, int) string { return "" }),
		`line 2: days_to_failure is "-1", expected days`:                dailyTable50("days_to_failure", func(string, int) string { return "-1" }),
		"drive B0 has a row of 2026-01-02, after the day on which it f": dailyTable50("failure", func(_ string, day int) string { return fmt.Sprint(int(indicator(day == 0))) }),
	} {
		if _, err := defaultModel(t).EvaluateDaily(t.Context(), "t.csv", strings.NewReader(table), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
