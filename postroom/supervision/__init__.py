"""Child processes: started, watched and ended. It knows no mail."""
