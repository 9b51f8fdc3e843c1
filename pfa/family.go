package pfa

import "strings"

// Vendors as the failure histories name them. HGST includes Hitachi, whose
// drives it continued.
const (
	vendorSeagate = "ST"
	vendorHGST    = "HGST"
	vendorWDC     = "WDC"
	vendorToshiba = "TOSHIBA"
	vendorSamsung = "SAMSUNG"
	vendorOther   = "other"
)

// Family brings a drive's model to the form in which histories name it: the
// vendor's prefix kept, the variant after a dash dropped ("ST4000DM000-1F2168"
// and "WDC WD30EFRX-68EUZN0" are the families "ST4000DM000" and "WDC WD30EFRX").
func Family(model string) string {
	m := strings.Join(strings.Fields(model), " ")
	if v := vendorOf(m); v == vendorSeagate || v == vendorWDC {
		if i := strings.IndexByte(m, '-'); i > 0 {
			m = m[:i]
		}
		if v == vendorSeagate {
			m = strings.TrimPrefix(strings.TrimPrefix(m, "SEAGATE "), "Seagate ")
		}
	}
	return m
}

func vendorOf(model string) string {
	m := strings.ToUpper(model)
	switch {
	case strings.HasPrefix(m, "ST") || strings.HasPrefix(m, "SEAGATE"):
		return vendorSeagate
	case strings.HasPrefix(m, "HGST") || strings.HasPrefix(m, "HITACHI") || strings.HasPrefix(m, "WDC WUH") ||
		strings.HasPrefix(m, "HUH") || strings.HasPrefix(m, "HUS"):
		return vendorHGST
	case strings.HasPrefix(m, "WDC") || strings.HasPrefix(m, "WD"):
		return vendorWDC
	case strings.HasPrefix(m, "TOSHIBA"):
		return vendorToshiba
	case strings.HasPrefix(m, "SAMSUNG"):
		return vendorSamsung
	}
	return vendorOther
}
