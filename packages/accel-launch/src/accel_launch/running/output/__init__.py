"""What ranks print, on its way to the user and to log files: in whole lines and bounded memory."""
