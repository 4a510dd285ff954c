// A small UART, 8 data bits, no parity, 1 stop bit (8N1), four clocks a bit: transmitter and receiver.
// `send` is heard while `busy` is low. `received` is high for one clock when `data_out` holds a new byte;
// `framing_error` is high for one clock when the stop bit was not there.
module uart (
    input  wire       clk,
    input  wire       rst,
    input  wire       send,
    input  wire [7:0] data_in,
    output reg        tx,
    output wire       busy,
    input  wire       rx,
    output reg  [7:0] data_out,
    output reg        received,
    output reg        framing_error
);
    // Transmitter: `tx_left` counts the bits that remain of start, data and stop.
    reg [8:0] tx_shift;
    reg [3:0] tx_left;
    reg [1:0] tx_clock;
    assign busy = tx_left != 4'd0;

    always @(posedge clk or posedge rst)
        if (rst) begin
            tx       <= 1'b1;
            tx_shift <= 9'h1ff;
            tx_left  <= 4'd0;
            tx_clock <= 2'd0;
        end else if (!busy) begin
            if (send) begin
                tx       <= 1'b0;
                tx_shift <= {1'b1, data_in};
                tx_left  <= 4'd10;
                tx_clock <= 2'd0;
            end
        end else begin
            tx_clock <= tx_clock + 2'd1;
            if (tx_clock == 2'd3) begin
                tx       <= tx_shift[0];
                tx_shift <= {1'b1, tx_shift[8:1]};
                tx_left  <= tx_left - 4'd1;
            end
        end

    // Receiver: two flip-flops against metastability, then each bit is read in its middle.
    reg [1:0] rx_sync;
    reg [7:0] rx_shift;
    reg [3:0] rx_left;
    reg [1:0] rx_clock;
    wire      rx_bit = rx_sync[1];

    always @(posedge clk or posedge rst)
        if (rst) begin
            rx_sync       <= 2'b11;
            rx_shift      <= 8'd0;
            rx_left       <= 4'd0;
            rx_clock      <= 2'd0;
            data_out      <= 8'd0;
            received      <= 1'b0;
            framing_error <= 1'b0;
        end else begin
            rx_sync       <= {rx_sync[0], rx};
            received      <= 1'b0;
            framing_error <= 1'b0;
            if (rx_left == 4'd0) begin
                if (!rx_bit) begin
                    rx_left  <= 4'd10;
                    rx_clock <= 2'd2;
                end
            end else begin
                rx_clock <= rx_clock + 2'd1;
                if (rx_clock == 2'd3) begin
                    rx_left  <= rx_left - 4'd1;
                    rx_shift <= {rx_bit, rx_shift[7:1]};
                    if (rx_left == 4'd10 && rx_bit) rx_left <= 4'd0;  // a glitch, not a start bit
                    if (rx_left == 4'd1) begin
                        data_out      <= rx_shift;
                        received      <= rx_bit;
                        framing_error <= ~rx_bit;
                    end
                end
            end
        end
endmodule
