"""Pictures of results: SVG that follows the reader's choice of light or dark."""
